// A page that uses Connect's client: `window.clients` makes those of the services of
// holdfast.v1 from their descriptors, in base64.
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";

window.clients = (descriptors, baseUrl, useBinaryFormat) => {
  const bytes = Uint8Array.from(atob(descriptors), (letter) => letter.charCodeAt(0));
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const transport = createConnectTransport({ baseUrl, useBinaryFormat });
  const client = (name) => createClient(registry.getService(`holdfast.v1.${name}`), transport);
  return {
    actors: client("ActorService"),
    events: client("EventService"),
    ErrorInfo: registry.getMessage("google.rpc.ErrorInfo"),
    Code,
    pack: (value) => ({ encoding: 1, data: new TextEncoder().encode(JSON.stringify(value)) }),
    unpack: ({ data }) => JSON.parse(new TextDecoder().decode(data)),
  };
};
