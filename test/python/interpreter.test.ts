import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, closeSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { findInterpreter } from "../../src/python/interpreter.ts";
import { pythonCommand } from "../../src/python/program.ts";
import { python } from "../support/manager.ts";
import { startErrorOf } from "../support/start-error.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

const env = { PATH: "/usr/bin:/bin" };

const problemWith = (path: string | null, environment = env): Promise<string> =>
  startErrorOf(async () => closeSync((await findInterpreter(path, environment)).program));

test("the default is the python3 of the PATH, and task_engine.py runs from memory that nobody can change", async () => {
  const { path, program } = await findInterpreter(null, env);
  expect(path).toBe(python);
  expect(() => writeFileSync(`/proc/self/fd/${program}`, "print('changed')")).toThrow("EPERM");
  const command = [...pythonCommand(path, 3, ["worker", "--help"])];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit", program] });
  closeSync(program);
  expect(await new Response(child.stdout).text()).toStartWith("usage: task_engine.py worker");
});

/** A virtual environment of the user's, as `python3 -m venv` makes one. */
const venv = (): TempFolder & { readonly python: string; readonly packages: string } => {
  const version = Bun.spawnSync([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).stdout;
  const packages = `lib/python${version.toString().trim()}/site-packages`;
  const folder = tempFolder({
    "bin/activate": "",
    "pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = false\n",
    [`${packages}/robot.pth`]: "import sys\n",
  });
  symlinkSync(python, folder.at("bin/python3"));
  return { ...folder, python: folder.at("bin/python3"), packages };
};

test("a virtual environment is held to the rules of task files before any code of it runs", async () => {
  using folder = venv();
  for (const name of [`${folder.packages}/robot.pth`, "pyvenv.cfg"]) {
    writeFileSync(
      folder.at(`${folder.packages}/robot.pth`),
      `import os; os.mkdir(${JSON.stringify(folder.at("ran"))})`,
    );
    chmodSync(folder.at(name), 0o666);
    expect(await problemWith(folder.python)).toBe(
      `${folder.at(name)} is not safe to run tasks from: others can write it (mode 0666); chmod go-w ${folder.at(name)}`,
    );
    chmodSync(folder.at(name), 0o644);
  }
  const { path, program } = await findInterpreter(folder.python, env);
  closeSync(program);
  expect(path).toBe(folder.python);
  expect(await Bun.file(folder.at("ran")).exists()).toBe(false);
});

test("a script that chooses an interpreter is asked once, and the one that it has chosen is used", async () => {
  using folder = tempFolder({ python3: `#!/bin/sh\nexec ${python} "$@"\n` });
  chmodSync(folder.at("python3"), 0o755);
  const { path, program } = await findInterpreter(null, { PATH: folder.path });
  closeSync(program);
  expect(path).toBe(python);
});

test("an interpreter that will not do is refused in one line that says what to do", async () => {
  using folder = tempFolder();
  const says = async (script: string): Promise<string> => {
    writeFileSync(folder.at("python"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const problem = await problemWith(folder.at("python"));
    unlinkSync(folder.at("python"));
    return problem.replace(folder.path, "…");
  };
  const about = (version: string, implementation: string): string =>
    `echo '{"version":${version},"implementation":"${implementation}","executable":"","library":"","packages":[]}'`;
  expect(await says(about("[3,8,1]", "cpython"))).toBe(
    "…/python is Python 3.8.1, and tasks need 3.9; name a newer one by --python",
  );
  expect(await says(about("[3,11,1]", "pypy"))).toBe("…/python is pypy, and tasks need CPython; name one by --python");
  expect(await says("echo 'no such option' >&2; exit 2")).toBe(
    "…/python is no Python: no such option; name another Python interpreter by --python",
  );
  expect(await problemWith(folder.at("none"))).toBe(
    `${folder.at("none")} cannot be read: there is no such file or folder`,
  );
});
