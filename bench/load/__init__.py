"""The loads: a C program, RivetKit's npm client, the SDK, and bare gRPC, all told the same way."""
