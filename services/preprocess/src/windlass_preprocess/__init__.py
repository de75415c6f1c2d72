"""Raw data to an immutable Dataset version, and the fitted transform that training and inference share."""
