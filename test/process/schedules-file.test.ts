/** The tables `[[schedule]]` of the file of settings. */
import { describe, expect, test } from "bun:test";
import { schedulesIn } from "../../src/process/schedules-file.ts";

const read = (toml: string) => {
  const mistakes: string[] = [];
  const table = Bun.TOML.parse(toml) as Record<string, unknown>;
  return { schedules: schedulesIn({ table, path: "robot.toml", folder: "/", text: toml }, mistakes), mistakes };
};

test("a file without schedules has none", () => {
  expect(read("port = 1")).toEqual({ schedules: [], mistakes: [] });
});

test("a schedule has a task with its arguments, and times of cron with a time zone", () => {
  const toml = `
    [[schedule]]
    task = "task_photo"
    args = ["front", 2]
    kwargs = { flash = true }
    cron = "*/10 * * * *"
    zone = "Europe/Berlin"
    misfire = "once"
    [[schedule]]
    name = "often"
    task = "photo"
    every-ms = 5000`;
  expect(read(toml)).toEqual({
    schedules: [
      {
        name: "photo",
        task: "photo",
        args: ["front", 2],
        kwargs: { flash: true },
        when: { cron: "*/10 * * * *", zone: "Europe/Berlin", misfire: "once" },
      },
      { name: "often", task: "photo", args: [], kwargs: {}, when: { everyMs: 5000 } },
    ],
    mistakes: [],
  });
});

describe("a mistake is one line with its place", () => {
  const mistakes: Record<string, [toml: string, mistake: RegExp]> = {
    "a table that is no list": ["schedule = 5", /^robot.toml: schedule: must be a list of tables/],
    "no task": ['[[schedule]]\ncron = "@daily"', /^robot.toml: schedule 1: has no task$/],
    "no times": ['[[schedule]]\ntask = "a"', /schedule 1: has neither cron nor every-ms$/],
    "both times": ['[[schedule]]\ntask = "a"\ncron = "@daily"\nevery-ms = 1000', /has both cron and every-ms/],
    "a zone without cron": ['[[schedule]]\ntask = "a"\nevery-ms = 1000\nzone = "UTC"', /go with cron alone/],
    "a bad cron expression": [
      '[[schedule]]\ntask = "a"\ncron = "61 * * * *"',
      /cron = "61 \* \* \* \*": value out of range for field$/,
    ],
    "a cron expression that is never due": ['[[schedule]]\ntask = "a"\ncron = "0 0 30 2 *"', /no time at which/],
    "an unknown zone": ['[[schedule]]\ntask = "a"\ncron = "@daily"\nzone = "Mars/X"', /: unknown time zone 'Mars\/X'$/],
    "an interval that is too short": [
      '[[schedule]]\ntask = "a"\nevery-ms = 20',
      /every-ms must be a whole number of ms/,
    ],
    "an unknown key": [
      '[[schedule]]\ntask = "a"\nchron = "@daily"',
      /has the key chron, which is not one of name, task/,
    ],
    "a wrong misfire": [
      '[[schedule]]\ntask = "a"\ncron = "@daily"\nmisfire = "no"',
      /misfire must be "skip" or "once"/,
    ],
    "an argument that JSON lacks": ['[[schedule]]\ntask = "a"\nevery-ms = 1000\nargs = [inf]', /args\[0\]/],
    "a name that stands twice": [
      '[[schedule]]\ntask = "a"\nevery-ms = 1000\n[[schedule]]\ntask = "a"\nevery-ms = 1000',
      /^robot.toml: schedule 2: the name a stands twice/,
    ],
  };
  for (const [name, [toml, mistake]] of Object.entries(mistakes)) {
    test(name, () => {
      expect(read(toml).mistakes).toEqual([expect.stringMatching(mistake)]);
    });
  }
});
