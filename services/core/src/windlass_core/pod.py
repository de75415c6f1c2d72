"""What pods and those who make them call things: variables, files, ports. Constants alone, for programs that start at once."""

RUN_SPEC_VARIABLE = "WINDLASS_RUN_SPEC"
# Where Kubernetes reads the end of a container from; a variable so that a run outside a pod can write elsewhere.
TERMINATION_LOG_VARIABLE = "WINDLASS_TERMINATION_LOG"
TERMINATION_LOG_PATH = "/dev/termination-log"
TERMINATION_MESSAGE_BYTES = 4096  # the kubelet's limit for one container
RUN_PORT = 8080  # /progress, /metrics, /healthz and /readyz of every pod of ours
GRPC_PORT = 9000  # the Open Inference Protocol over gRPC, of pods that answer with a model
RENDEZVOUS_PORT = 29400  # torch elastic's c10d store on the pod with index 0
