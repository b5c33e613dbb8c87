"use strict";
/*
 * Loaded before Azurite (node -r): makes it keep everything that it acknowledged when it is killed with -9.
 *
 * Azurite holds its metadata in LokiJS, in memory, and writes all of it to a file every five seconds; a kill loses what
 * came after. Real Azure Storage loses nothing that it acknowledged, and the exactly-once rules of Footfall rest on that.
 *
 * So each change of a Loki collection goes to a journal beside the database's file, and reaches the operating system
 * before the response does. Laws of this file:
 *
 * 1. The changes of one synchronous stretch of code are one line of the journal, written with one write(). It is written
 *    in a microtask that is queued at the first change, that is: before the code that awaits the change goes on, and so
 *    before any response. Azurite changes related documents in one stretch, so none is on disk without the others.
 * 2. An entity-group transaction of Table storage spans several stretches: the line is held back until it has ended.
 *    Its awaits are microtasks only, so no other request is answered meanwhile (checked: see `guardTransactions`).
 * 3. A line says what became of a document, not what was done: replaying a line twice, or lines that the snapshot
 *    already has, gives the same state. So a crash between "snapshot in place" and "old journal deleted" is harmless.
 * 4. The bytes of blobs are in their file (Azurite awaits fdatasync) before a document mentions them.
 *
 * The five-second save is gone; a snapshot is written when the journal has outgrown the last one, and at a clean stop.
 * The hooks reach into internals. They were read in the versions below; with any other this file refuses to start.
 */

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const AZURITE = "3.37.0";
const LOKIJS = "1.5.12";
const SMALLEST_SNAPSHOT_BYTES = 16 * 1024 * 1024;

function refuse(reason) {
  process.stderr.write(`azurite_durable.cjs: ${reason}\n`);
  process.exit(3);
}

// ---------------------------------------------------------------------------------------------- the journal of a database

/** The changes of one Loki database since its last snapshot. */
class Journal {
  constructor(db) {
    this.db = db;
    this.file = db.filename;
    this.pending = new Map(); // key -> change; the last change of a document is the one that counts
    this.structural = 0; // keys for changes of whole collections
    this.held = 0; // open transactions
    this.scheduled = false;
    this.muted = true; // until the database is loaded, or known to be new
    this.descriptor = undefined;
    this.generation = 0;
    this.bytes = 0;
    this.snapshotBytes = 0;
    this.snapshotting = false;
  }

  // A document is written as it is when the line is written, so a change before that costs nothing more.
  put(collection, doc) {
    this.note(`${doc.$loki} ${collection.name}`, { op: "put", name: collection.name, doc });
  }

  del(collection, id) {
    this.note(`${id} ${collection.name}`, { op: "del", name: collection.name, id });
  }

  addCollection(name, options) {
    this.note(`collection ${this.structural++}`, { op: "add", name, options });
  }

  dropCollection(name) {
    this.note(`collection ${this.structural++}`, { op: "drop", name });
  }

  note(key, change) {
    if (this.muted) return;
    this.pending.delete(key); // so that it moves behind a drop of its collection
    this.pending.set(key, change);
    if (!this.scheduled && this.held === 0) {
      this.scheduled = true;
      queueMicrotask(() => {
        this.scheduled = false;
        if (this.held === 0) this.flush();
      });
    }
  }

  hold() {
    this.flush(); // what came before the transaction does not depend on it
    this.held++;
  }

  release() {
    if (this.held > 0) this.held--;
    if (this.held === 0) this.flush();
  }

  flush() {
    if (this.pending.size === 0) return;
    const line = Buffer.from(JSON.stringify([...this.pending.values()]) + "\n");
    this.pending.clear();
    if (this.descriptor === undefined) this.open();
    for (let written = 0; written < line.length; ) written += fs.writeSync(this.descriptor, line, written);
    this.bytes += line.length;
    if (!this.snapshotting && this.bytes > Math.max(SMALLEST_SNAPSHOT_BYTES, this.snapshotBytes)) {
      this.snapshotting = true;
      setImmediate(() => this.db.saveDatabase());
    }
  }

  open() {
    this.descriptor = fs.openSync(`${this.file}.journal.${this.generation}`, "a");
  }

  /** Start a new generation; the snapshot that is being taken has everything up to here. Returns what it replaces. */
  rotate() {
    this.flush();
    if (this.descriptor !== undefined) fs.closeSync(this.descriptor);
    this.descriptor = undefined;
    this.bytes = 0;
    const replaced = this.generations();
    this.generation = replaced.reduce((newest, number) => Math.max(newest, number), this.generation) + 1;
    return replaced;
  }

  generations() {
    const prefix = `${path.basename(this.file)}.journal.`;
    return fs
      .readdirSync(path.dirname(this.file))
      .filter((name) => name.startsWith(prefix))
      .map((name) => Number(name.slice(prefix.length)))
      .sort((a, b) => a - b);
  }

  forget(generations) {
    for (const number of generations) fs.rmSync(`${this.file}.journal.${number}`, { force: true });
  }

  /** Every change in the journal, oldest first. A last line without its end was never acknowledged. */
  *changes() {
    for (const number of this.generations()) {
      const file = `${this.file}.journal.${number}`;
      const lines = fs.readFileSync(file, "utf8").split("\n");
      lines.pop();
      for (const [index, line] of lines.entries()) {
        try {
          yield* JSON.parse(line);
        } catch (error) {
          throw new Error(`${file}, line ${index + 1} is damaged: ${error.message}`);
        }
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- replay

/** Bring a database that was loaded from its snapshot to the state that its journal tells. */
function replay(db, changes) {
  const touched = new Map(); // collection name -> Map of id -> document or null
  for (const change of changes) {
    if (change.op === "add" || change.op === "drop") {
      touched.delete(change.name);
      db.removeCollection(change.name);
      if (change.op === "add") db.addCollection(change.name, change.options);
      continue;
    }
    if (!touched.has(change.name)) touched.set(change.name, new Map());
    if (change.op === "put") touched.get(change.name).set(change.doc.$loki, change.doc);
    else touched.get(change.name).set(change.id, null);
  }
  for (const [name, documents] of touched) merge(db.getCollection(name), documents);
}

function merge(collection, documents) {
  const kept = collection.data.filter((doc) => !documents.has(doc.$loki));
  const changed = [...documents.values()].filter((doc) => doc !== null);
  collection.data = [...kept, ...changed].sort((a, b) => a.$loki - b.$loki); // Loki finds by bisection
  for (const id of documents.keys()) collection.maxId = Math.max(collection.maxId, id);
  collection.idIndex = null;
  collection.ensureId();
  for (const name of collection.uniqueNames) collection.ensureUniqueIndex(name);
  collection.ensureAllIndexes(true);
  collection.dirty = true;
}

// ----------------------------------------------------------------------------------------------------------------- hooks

/** Replace `owner.prototype[name]` by what `wrap` makes of it; refuse to start where there is no such method. */
function hook(owner, name, wrap) {
  const original = owner.prototype[name];
  if (typeof original !== "function") refuse(`${owner.name}.${name} is not there`);
  owner.prototype[name] = wrap(original);
}

const journals = new WeakMap(); // database -> its journal
const journalOf = new WeakMap(); // collection -> the journal of its database

function journalOfDatabase(db) {
  if (!journals.has(db)) journals.set(db, new Journal(db));
  return journals.get(db);
}

function hookCollections(Collection) {
  hook(Collection, "add", (original) => function (doc) {
    const added = original.call(this, doc);
    journalOf.get(this)?.put(this, doc);
    return added;
  });
  hook(Collection, "update", (original) => function (doc) {
    const updated = original.call(this, doc); // an array comes back here one by one
    if (!Array.isArray(doc)) journalOf.get(this)?.put(this, doc);
    return updated;
  });
  hook(Collection, "remove", (original) => function (doc) {
    if (Array.isArray(doc)) return original.call(this, doc); // ends in removeBatchByPositions
    const id = typeof doc === "number" ? doc : doc.$loki; // `remove` takes it from the document
    const removed = original.call(this, doc);
    journalOf.get(this)?.del(this, id);
    return removed;
  });
  hook(Collection, "removeBatchByPositions", (original) => function (positions) {
    const ids = positions.map((position) => this.data[position].$loki);
    const removed = original.call(this, positions);
    for (const id of ids) journalOf.get(this)?.del(this, id);
    return removed;
  });
  for (const name of ["clear", "rollback"]) {
    // Azurite uses neither; should it begin to, a silent gap would be worse than a crash.
    hook(Collection, name, (original) => function (...args) {
      if (journalOf.has(this) && (name === "clear" || this.transactional)) {
        throw new Error(`azurite_durable.cjs: Collection.${name} is not journalled`);
      }
      return original.apply(this, args);
    });
  }
}

function hookDatabases(Loki) {
  hook(Loki, "addCollection", (original) => function (name, options) {
    const isNew = !this.collections.some((collection) => collection.name === name);
    const collection = original.call(this, name, options);
    const journal = journalOfDatabase(this);
    journalOf.set(collection, journal);
    if (isNew) journal.addCollection(name, options);
    return collection;
  });
  hook(Loki, "removeCollection", (original) => function (name) {
    original.call(this, name);
    journalOfDatabase(this).dropCollection(name);
  });
  hook(Loki, "loadJSONObject", (original) => function (dbObject, options) {
    const journal = journalOfDatabase(this);
    original.call(this, dbObject, options);
    replay(this, journal.changes());
    journal.muted = false;
    journal.generation = Math.max(0, ...journal.generations()) + 1; // a torn last line stays the last of its file
  });
  // The timer is what loses data; `autosave` itself stays on, so that a clean stop writes a snapshot.
  hook(Loki, "autosaveEnable", () => function () {
    this.autosave = true;
  });
}

function hookSnapshots(Loki, Adapter) {
  hook(Adapter, "saveDatabase", (original) => function (file, text, callback) {
    const journal = this.footfallJournal;
    // Nothing runs between Loki's serialize() and this call, so the snapshot has all that was journalled before.
    const replaced = journal.rotate();
    journal.muted = false;
    original.call(this, file, text, (error) => {
      if (!error) {
        journal.forget(replaced);
        journal.snapshotBytes = text.length;
      }
      journal.snapshotting = false;
      callback(error);
    });
  });
  hook(Loki, "saveDatabaseInternal", (original) => function (callback) {
    this.persistenceAdapter.footfallJournal = journalOfDatabase(this);
    return original.call(this, callback);
  });
}

/** Hold the journal's line back while an entity-group transaction runs. */
function guardTransactions(TableStore) {
  hook(TableStore, "beginBatchTransaction", (original) => async function (batchId) {
    await original.call(this, batchId); // throws when another transaction is open
    const journal = journalOfDatabase(this.db);
    journal.hold();
    this.footfallTransaction = batchId;
    setImmediate(() => {
      if (this.footfallTransaction === batchId) {
        refuse("an entity-group transaction waited for input or output; others could be answered before it is on disk");
      }
    });
  });
  hook(TableStore, "endBatchTransaction", (original) => async function (...args) {
    await original.apply(this, args);
    this.footfallTransaction = undefined;
    journalOfDatabase(this.db).release();
  });
}

// ----------------------------------------------------------------------------------------------------------------- start

const azurite = createRequire(path.resolve(process.argv[1] ?? ""));

function demand(name, manifest, version) {
  const found = azurite(manifest).version;
  if (found !== version) refuse(`made for ${name} ${version}, found ${found}`);
}

demand("azurite", "../../package.json", AZURITE);
demand("lokijs", "lokijs/package.json", LOKIJS);
const Loki = azurite("lokijs");
hookCollections(Loki.Collection);
hookDatabases(Loki);
hookSnapshots(Loki, Loki.LokiFsAdapter);
guardTransactions(azurite("./table/persistence/LokiTableMetadataStore").default);
