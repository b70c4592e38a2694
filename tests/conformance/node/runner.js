// Runs the conformance cases with grpc-js and the plain protos: `runner.js ADDRESS CASES_DIRECTORY`.
// One line per case: `ok NAME` or `failed NAME: reason`.
"use strict";

const { randomBytes } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { Mismatch, expand, match } = require("./patterns.js");

const DOMAIN = "holdfast.dev";
const TIMEOUT_S = 20;
const SERVICES = [
  "holdfast.v1.ActorService",
  "holdfast.v1.DeadLetterService",
  "holdfast.v1.KvService",
  "grpc.health.v1.Health",
];

const definitions = protoLoader.loadSync(
  [
    "holdfast/v1/actor_service.proto",
    "holdfast/v1/dead_letter_service.proto",
    "holdfast/v1/kv_service.proto",
    "grpc/health/v1/health.proto",
    "google/rpc/errors.proto",
  ],
  {
    includeDirs: [path.join(__dirname, "../../../proto"), path.join(__dirname, "protos")],
    keepCase: true,
    longs: String,
    enums: String,
    bytes: String,
    defaults: true,
  },
);
const packages = grpc.loadPackageDefinition(definitions);

function connect(address) {
  return Object.fromEntries(
    SERVICES.map((name) => {
      const Client = name.split(".").reduce((found, part) => found[part], packages);
      return [name, new Client(address, grpc.credentials.createInsecure())];
    }),
  );
}

// Resolves to the reply and the error of a call: of a stream, all its messages in one.
function call(clients, step, request) {
  const [service, name] = step.call.split("/");
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(step.metadata ?? {})) metadata.set(key, value);
  const options = { deadline: Date.now() + (step.timeout_s ?? TIMEOUT_S) * 1000 };
  const client = clients[service];
  return new Promise((resolve) => {
    if (!definitions[service][name].responseStream) {
      client[name](request, metadata, options, (error, reply) => resolve([reply, error]));
      return;
    }
    const merged = definitions[service][name].responseDeserialize(Buffer.alloc(0));
    const stream = client[name](request, metadata, options);
    stream.on("data", (reply) => {
      for (const [key, value] of Object.entries(reply)) {
        merged[key] = Array.isArray(value) ? [...merged[key], ...value] : value;
      }
    });
    stream.on("error", (error) => resolve([merged, error]));
    stream.on("end", () => resolve([merged, null]));
  });
}

// A failure as the cases speak of it.
function describe(error) {
  const found = { status: grpc.status[error.code], message: error.details };
  for (const data of error.metadata?.get("grpc-status-details-bin") ?? []) {
    for (const { type_url, value } of definitions["google.rpc.Status"].deserialize(data).details) {
      const type = type_url.split("/").pop();
      const detail = definitions[type].deserialize(Buffer.from(value, "base64"));
      if (type === "google.rpc.ErrorInfo") {
        Object.assign(found, detail);
      } else if (type === "google.rpc.RetryInfo") {
        const { seconds, nanos } = detail.retry_delay;
        found.retry_delay_ms = Number(seconds) * 1000 + nanos / 1e6;
      } else if (type === "google.rpc.BadRequest") {
        found.fields = detail.field_violations.map((violation) => violation.field);
      }
    }
  }
  return found;
}

// A reply in the form of protobuf JSON, which spells a google.protobuf.Struct as an object.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  if (Object.keys(value).join() === "fields") return structValue({ structValue: value });
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function structValue(value) {
  if (value.structValue) {
    const fields = Object.entries(value.structValue.fields);
    return Object.fromEntries(fields.map(([key, item]) => [key, structValue(item)]));
  }
  if (value.listValue) return value.listValue.values.map(structValue);
  return value.stringValue ?? value.numberValue ?? value.boolValue ?? null;
}

async function runStep(clients, step, variables) {
  const [reply, error] = await call(clients, step, expand(step.request, variables));
  const found = error && describe(error);
  if (found && !step.error) throw new Mismatch(`failed: ${JSON.stringify(found)}`);
  if (step.error) {
    if (!found) throw new Mismatch("did not fail");
    const wanted = "reason" in step.error ? { domain: DOMAIN, ...step.error } : step.error;
    match(wanted, found, variables, "error");
  }
  if ("reply" in step) match(step.reply, plain(reply), variables, "reply");
}

async function runCase(clients, steps) {
  const variables = { unique: randomBytes(8).toString("hex") };
  for (const [index, step] of steps.entries()) {
    try {
      await runStep(clients, step, variables);
    } catch (error) {
      throw new Mismatch(`step ${index + 1} (${step.call}): ${error.message}`);
    }
  }
}

async function main(address, directory) {
  const clients = connect(address);
  const files = fs.readdirSync(directory).filter((name) => name.endsWith(".json"));
  for (const file of files.sort()) {
    const cases = JSON.parse(fs.readFileSync(path.join(directory, file), "utf8"));
    for (const { name, steps } of cases) {
      const label = `${path.basename(file, ".json")}/${name}`;
      try {
        await runCase(clients, steps);
        console.log(`ok ${label}`);
      } catch (error) {
        process.exitCode = 1;
        console.log(`failed ${label}: ${error.message.replace(/\s+/g, " ")}`);
      }
    }
  }
  Object.values(clients).forEach((client) => client.close());
}

main(...process.argv.slice(2));
