// Requests and expectations of the conformance cases: variables, `$` forms, matching.
// The README of tests/conformance defines them; this is that definition in JavaScript.
"use strict";

const { isDeepStrictEqual } = require("node:util");

const JSON_ENCODING = "PAYLOAD_ENCODING_JSON";

// An expectation was not met; says where.
class Mismatch extends Error {}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// The name and the operand of a `$` form; an empty name for anything else.
function form(value) {
  if (isObject(value)) {
    const entries = Object.entries(value);
    if (entries.length === 1 && entries[0][0].startsWith("$")) return entries[0];
  }
  return ["", undefined];
}

// `value` with variables and `$` forms replaced by what they stand for.
function expand(value, variables) {
  if (typeof value === "string") return expandText(value, variables);
  if (Array.isArray(value)) return value.map((item) => expand(item, variables));
  if (!isObject(value)) return value;
  const [name, operand] = form(value);
  if (!name) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, expand(item, variables)]),
    );
  }
  const given = expand(operand, variables);
  switch (name) {
    case "$repeat":
      return given[0].repeat(given[1]);
    case "$text":
      return Buffer.from(given, "utf8").toString("base64");
    case "$hex":
      return Buffer.from(given.replaceAll(" ", ""), "hex").toString("base64");
    case "$json":
      return {
        encoding: JSON_ENCODING,
        data: Buffer.from(JSON.stringify(given), "utf8").toString("base64"),
      };
    default:
      throw new Mismatch(`${name} does not belong into a request`);
  }
}

// Throws Mismatch unless `actual` is as `pattern` says; captures into `variables`.
function match(pattern, actual, variables, path) {
  const [name, operand] = form(pattern);
  if (name === "$capture") {
    if (actual === null || actual === undefined || actual === "") {
      throw new Mismatch(`${path} is absent`);
    }
    variables[operand] = actual;
  } else if (name === "$not") {
    if (isDeepStrictEqual(expand(operand, variables), actual)) {
      throw new Mismatch(`${path} is ${JSON.stringify(actual)}`);
    }
  } else if (name === "$json") {
    matchJson(expand(operand, variables), actual, path);
  } else if (isObject(pattern) && !name) {
    if (!isObject(actual)) throw new Mismatch(`${path} is ${JSON.stringify(actual)}`);
    for (const [key, item] of Object.entries(pattern)) {
      match(item, actual[key], variables, `${path}.${key}`);
    }
  } else if (Array.isArray(pattern)) {
    if (!Array.isArray(actual) || actual.length !== pattern.length) {
      throw new Mismatch(`${path} is ${JSON.stringify(actual)}, not ${pattern.length} items`);
    }
    pattern.forEach((item, index) => match(item, actual[index], variables, `${path}[${index}]`));
  } else {
    const wanted = expand(pattern, variables);
    if (!isDeepStrictEqual(wanted, actual ?? null)) {
      throw new Mismatch(`${path} is ${JSON.stringify(actual)}, not ${JSON.stringify(wanted)}`);
    }
  }
}

function matchJson(wanted, actual, path) {
  if (!isObject(actual) || actual.encoding !== JSON_ENCODING) {
    throw new Mismatch(`${path} is ${JSON.stringify(actual)}, not a JSON payload`);
  }
  const text = Buffer.from(actual.data, "base64").toString("utf8");
  if (!isDeepStrictEqual(wanted, JSON.parse(text))) {
    throw new Mismatch(`${path} is ${text}, not ${JSON.stringify(wanted)}`);
  }
}

// A string that is one variable becomes its value, of whatever type.
function expandText(value, variables) {
  const whole = /^\$\{(\w+)\}$/.exec(value);
  if (whole) return variable(whole[1], variables);
  return value.replace(/\$\{(\w+)\}/g, (_, name) => String(variable(name, variables)));
}

function variable(name, variables) {
  if (!Object.hasOwn(variables, name)) throw new Mismatch(`there is no variable '${name}'`);
  return variables[name];
}

module.exports = { Mismatch, expand, match };
