// node preprocess.mjs MANIFEST PIXELS WIDTH HEIGHT OUT: what the graph would be given, as a file of bytes.
import { readFileSync, writeFileSync } from "node:fs";
import { preprocess } from "../../examples/web/lookalike.mjs";

const [manifest, pixels, width, height, out] = process.argv.slice(2);
const image = { data: new Uint8Array(readFileSync(pixels)), width: Number(width), height: Number(height) };
const values = preprocess(JSON.parse(readFileSync(manifest, "utf8")), image);
writeFileSync(out, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
