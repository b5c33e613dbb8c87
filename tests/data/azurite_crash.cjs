"use strict";
/*
 * Loaded into Azurite by tests: kills it at a chosen moment, as kill -9 from outside would if it could hit so exactly.
 *   CRASH=after-write:N    right after the N-th write to a journal
 *   CRASH=torn-write:N     in the middle of the N-th write
 *   CRASH=before-rename:N  after the N-th snapshot was written, before it is put in place
 *   CRASH=after-rename:N   after it is in place, before the journal that it replaces is deleted
 * Only what happens to the files of CRASH_FILE's database counts.
 */
const fs = require("node:fs");
const path = require("node:path");

const [moment, number] = process.env.CRASH.split(":");
let left = Number(number);

function die() {
  process.kill(process.pid, "SIGKILL");
}

function due(what, file) {
  return moment.endsWith(what) && path.basename(file).startsWith(process.env.CRASH_FILE) && --left === 0;
}

const names = new Map();
const { openSync, writeSync, rename } = fs;
fs.openSync = (file, ...rest) => {
  const descriptor = openSync(file, ...rest);
  names.set(descriptor, String(file));
  return descriptor;
};
fs.writeSync = (descriptor, buffer, ...rest) => {
  if (!due("write", names.get(descriptor) ?? "")) return writeSync(descriptor, buffer, ...rest);
  writeSync(descriptor, moment === "torn-write" ? buffer.subarray(0, buffer.length / 2) : buffer);
  die();
};
fs.rename = (from, to, callback) => {
  if (!due("rename", to)) return rename(from, to, callback);
  if (moment === "after-rename") fs.renameSync(from, to);
  die();
};
