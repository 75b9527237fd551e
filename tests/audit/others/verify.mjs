// npm @sigstore/verify (its private dist/tlog): the checkpoint's signature, and inclusion.
// usage: node verify.mjs NODE_MODULES, with {origin, keyId, publicKey, checkpoint, index, hashes, leaf} on stdin
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const need = createRequire(join(process.argv[2], "x.js"));
const dist = join(process.argv[2], "@sigstore", "verify", "dist", "tlog");
const { verifyCheckpoint } = need(join(dist, "checkpoint.js"));
const { verifyMerkleInclusion } = need(join(dist, "merkle.js"));
const told = JSON.parse(readFileSync(0, "utf8"));
const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(told.publicKey, "base64")]);
const log = {
  baseURL: told.origin,
  logID: Buffer.from(told.keyId, "hex"),
  publicKey: createPublicKey({ key: spki, format: "der", type: "spki" }),
};
const entry = {
  canonicalizedBody: Buffer.from(told.leaf, "base64"),
  inclusionProof: {
    checkpoint: { envelope: told.checkpoint },
    logIndex: told.index,
    hashes: told.hashes.map((hash) => Buffer.from(hash, "base64")),
  },
};
try {
  verifyMerkleInclusion(entry, verifyCheckpoint(entry, [log]));
} catch (error) {
  console.error(String(error.message));
  process.exit(1);
}
