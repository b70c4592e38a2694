// Runs the conformance cases with grpc-js and the plain protos: `runner.js ADDRESS ADMIN_ADDRESS
// CASES_DIRECTORY`.
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
const ADMIN = "holdfast.v1.AdminService";
const SERVICES = [
  "holdfast.v1.ActorService",
  ADMIN,
  "holdfast.v1.DeadLetterService",
  "holdfast.v1.EventService",
  "holdfast.v1.KvService",
  "holdfast.v1.ScheduleService",
  "grpc.health.v1.Health",
];

const definitions = protoLoader.loadSync(
  [
    "holdfast/v1/actor_service.proto",
    "holdfast/v1/admin_service.proto",
    "holdfast/v1/dead_letter_service.proto",
    "holdfast/v1/event_service.proto",
    "holdfast/v1/kv_service.proto",
    "holdfast/v1/schedule_service.proto",
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

function connect(address, admin) {
  return Object.fromEntries(
    SERVICES.map((name) => {
      const Client = name.split(".").reduce((found, part) => found[part], packages);
      return [name, new Client(name === ADMIN ? admin : address, grpc.credentials.createInsecure())];
    }),
  );
}

// Begins a call; gives a function that reads on until it is enough, or over. That resolves to
// the reply, of a stream the messages that came in one, and to the error of the call.
function begin(clients, step, request) {
  const [service, name] = step.call.split("/");
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(step.metadata ?? {})) metadata.set(key, value);
  const options = { deadline: Date.now() + (step.timeout_s ?? TIMEOUT_S) * 1000 };
  const client = clients[service];
  if (!definitions[service][name].responseStream) {
    const read = () =>
      new Promise((resolve) => {
        client[name](request, metadata, options, (error, reply) => resolve([reply, error]));
      });
    return { read, cancel() {} };
  }
  const stream = client[name](request, metadata, options);
  const replies = stream[Symbol.asyncIterator]();
  // One that is cancelled says so when nobody reads any more.
  stream.on("error", () => {});
  const read = async (enough) => {
    const merged = definitions[service][name].responseDeserialize(Buffer.alloc(0));
    try {
      for (;;) {
        const { value: reply, done } = await replies.next();
        if (done) return [merged, null];
        for (const [key, value] of Object.entries(reply)) {
          merged[key] = Array.isArray(value) ? [...merged[key], ...value] : value;
        }
        if (enough(merged)) return [merged, null];
      }
    } catch (error) {
      return [merged, error];
    }
  };
  return { read, cancel: () => stream.cancel() };
}

// Whether a step reads no further: it has as many items as it takes, or opens a stream.
function isEnough(step, merged) {
  if (!step.take) return "open" in step;
  return Object.entries(step.take).every(([name, count]) => merged[name].length >= count);
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

async function runStep(clients, step, variables, streams) {
  const answers =
    "read" in step ? streams[step.read] : begin(clients, step, expand(step.request, variables));
  if ("open" in step) streams[step.open] = answers;
  const [reply, error] = await answers.read((merged) => isEnough(step, merged));
  if (!("open" in step || "read" in step)) answers.cancel();
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
  const streams = {};
  try {
    for (const [index, step] of steps.entries()) {
      try {
        await runStep(clients, step, variables, streams);
      } catch (error) {
        throw new Mismatch(`step ${index + 1} (${step.call ?? step.read}): ${error.message}`);
      }
    }
  } finally {
    Object.values(streams).forEach((answers) => answers.cancel());
  }
}

async function main(address, admin, directory) {
  const clients = connect(address, admin);
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
