/**
 * The files of the page, as the bundler makes them of `page/index.html`. The gateway serves them
 * itself, because `Bun.serve` takes no headers for an HTML import and compresses nothing.
 */
import { basename } from "node:path";
import bundle from "./page/index.html";

export interface PageFile {
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The same, for `Content-Encoding: gzip`. */
  readonly compressed: Uint8Array<ArrayBuffer>;
  /** Its name says what is in it. */
  readonly isImmutable: boolean;
}

interface Output {
  readonly path: string;
  readonly blob: Blob;
}

/**
 * Returns the files by path, `/` for the page. From source it bundles them, and throws the
 * bundler's Error.
 */
export const pageFiles = async (): Promise<ReadonlyMap<string, PageFile>> => {
  const files = new Map<string, PageFile>();
  for (const { path, blob } of await outputs()) {
    const name = path.endsWith(".html") ? "/" : `/${basename(path)}`;
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const compressed = Bun.gzipSync(bytes, { level: 9 });
    files.set(name, { type: blob.type, bytes, compressed, isImmutable: name !== "/" });
  }
  return files;
};

const outputs = async (): Promise<Output[]> => {
  // In an executable an HTML import is a list of the files made of it, else the path of the HTML.
  const { index, files }: { index: string; files?: { path: string }[] } = bundle;
  if (files !== undefined) return files.map(({ path }) => ({ path, blob: Bun.file(path) }));
  const result = await Bun.build({
    entrypoints: [index],
    minify: { whitespace: true, syntax: true, identifiers: false },
    throw: false,
  });
  if (!result.success) throw new Error(`the page cannot be built: ${result.logs.map(String).join("\n")}`);
  return result.outputs.map((output) => ({ path: output.path, blob: output }));
};
