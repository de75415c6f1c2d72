"""The Open Inference Protocol over gRPC: the same models and queues as over HTTP, on a port of its own.

    open_inference.proto     the messages and calls, by the names and numbers of the protocol
    open_inference_pb2.py    made from it by `make generate`
    generate                 makes it
    messages                 messages to tensors and back; pure
    administering            the calls of the statistics and of the model repository extension
    server                   the calls, their deadlines and errors, the health service, the end

Imported only when a port for it is given: it costs 20 MB and a tenth of a second.
"""
