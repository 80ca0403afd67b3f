"""gRPC's health service, by Google's own library: python3 grpc_server.py PORT."""

import sys
from concurrent import futures

import grpc

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
STATUS = {b"": SERVING, b"\x0a\x04shop": SERVING, b"\x0a\x06closed": NOT_SERVING}


class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(check)


def check(request, context):
    if request not in STATUS:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return STATUS[request]


server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()])
server.add_insecure_port(f"[::]:{sys.argv[1]}")
server.start()
server.wait_for_termination()
