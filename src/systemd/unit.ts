/**
 * The text of the engine's systemd unit, which has its own comments for readers of
 * /etc/systemd/system. Sources: systemd.service(5), systemd.exec(5), systemd.resource-control(5).
 */

import { systemStateFolder } from "../security/state-folders.ts";

export interface UnitOptions {
  /** Absolute path of the program. */
  readonly executable: string;
  /** Absolute path of the task files; null for `tasks` in the configuration folder, if any. */
  readonly tasks: string | null;
  readonly user: string;
  readonly devices: readonly Device[];
}

/** Classes of devices in /proc/devices, and their group on Debian and Raspberry Pi OS. */
export const devices = {
  gpio: { group: "gpio", classes: ["char-gpiochip"], what: "pins, by /dev/gpiochip*" },
  i2c: { group: "i2c", classes: ["char-i2c"], what: "I2C buses, /dev/i2c-*" },
  serial: {
    group: "dialout",
    classes: ["char-ttyAMA", "char-ttyS", "char-ttyUSB", "char-ttyACM"],
    what: "serial ports, /dev/ttyAMA*, ttyS*, ttyUSB*, ttyACM*",
  },
  spi: { group: "spi", classes: ["char-spi"], what: "SPI buses, /dev/spidev*" },
} as const;

export type Device = keyof typeof devices;

export const unitName = "task-engine.service";
export const configurationFolder = "/etc/task-engine";
export const stateFolder = systemStateFolder;

/** Variables that load code or start a debugger; systemd knows no patterns here. */
const unsetVariables: readonly string[] = [
  ...[
    "BUN_OPTIONS",
    "BUN_BE_BUN",
    "BUN_INSPECT",
    "BUN_INSPECT_CONNECT_TO",
    "BUN_INSPECT_NOTIFY",
    "BUN_INSPECT_PRELOAD",
  ],
  ...["BUN_INSTALL", "BUN_TMPDIR", "BUN_RUNTIME_TRANSPILER_CACHE_PATH", "BUN_TCC_OPTIONS", "BUN_CRASH_REPORT_URL"],
  ...["NODE_OPTIONS", "NODE_PATH", "NODE_CHANNEL_FD", "NODE_EXTRA_CA_CERTS"],
  ...["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "TMPDIR"],
];

/** The text of the unit file. */
export const unitText = (options: UnitOptions): string => {
  const command = [options.executable, "serve", ...(options.tasks === null ? [] : ["--tasks", options.tasks])];
  return `# Task Engine, as \`task-engine service\` prints it. Local changes: systemctl edit ${unitName}
[Unit]
Description=Task Engine
After=network.target
# systemd gives up after five failed starts.
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
# The engine says itself when it is ready, reloads and stops, and that its router still answers.
Type=notify
NotifyAccess=main
WatchdogSec=30
# No dump of a memory that has keys in it.
WatchdogSignal=SIGKILL
LimitCORE=0
ExecStart=${command.map(unitWord).join(" ")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
# Soon: the next start makes safe whatever still moves. systemd ends every process that is left.
RestartSec=200ms
# Wrong usage does not mend itself.
RestartPreventExitStatus=2
# The main process stops the others, in the right order. It waits for running jobs and asks for more time if they
# may take it.
KillMode=mixed
TimeoutStartSec=120
TimeoutStopSec=30
# A worker that runs out of memory is started again by the engine.
OOMPolicy=continue
# Each connection is an open file.
LimitNOFILE=8192
TasksMax=1024
# Worth setting on a small machine: idle the whole engine has 100 MB, and the router at its very worst another 250 MB.
#MemoryMax=512M

# ${configurationFolder}: task-engine.toml, tasks, keys; ${stateFolder}: what tasks keep, and whether the engine is in
# emergency stop. Other users may pass through it to the socket by which all may stop an engine without keys; they
# cannot list it.
User=${options.user}
Group=${options.user}
WorkingDirectory=-${configurationFolder}
ConfigurationDirectory=task-engine
StateDirectory=task-engine
StateDirectoryMode=0711
UMask=0077
UnsetEnvironment=${unsetVariables.join(" ")}

# The machine: read-only, without the people's files, without its kernel's knobs.
ProtectSystem=strict
${homeLines(options.tasks)}
PrivateTmp=yes
PrivateMounts=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
${deviceLines(options.devices)}

# The process: nothing that an engine has no use for. Not MemoryDenyWriteExecute=: Bun compiles what it runs.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictSUIDSGID=yes
RestrictNamespaces=yes
LockPersonality=yes
KeyringMode=private
RemoveIPC=yes
# A task that must keep real time needs this undone: RestrictRealtime=no, LimitRTPRIO=50
RestrictRealtime=yes
# AF_NETLINK is how ZeroMQ learns this machine's own addresses, without which it cannot bind.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# ZeroMQ sets the (ordinary) scheduling of its threads, and ends the process if it may not.
SystemCallFilter=sched_setscheduler
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`;
};

const homes = ["/home/", "/root/", "/run/user/"];

/** Returns true for paths that ProtectHome= hides. */
export const isInHome = (path: string): boolean => homes.some((home) => path.startsWith(home));

const homeLines = (tasks: string | null): string => {
  if (tasks === null || !isInHome(tasks)) return "ProtectHome=yes";
  const comment = "# All homes are hidden except the folder of task files.";
  return `${comment}\nProtectHome=tmpfs\nBindReadOnlyPaths=${pathSetting(tasks)}`;
};

const deviceLines = (wanted: readonly Device[]): string => {
  if (wanted.length === 0) {
    return [
      "# No devices; task-engine service --gpio --i2c --serial --spi makes a unit that allows some.",
      "PrivateDevices=yes",
      "DevicePolicy=closed",
      "PrivateUsers=yes",
    ].join("\n");
  }
  const rows = [...new Set(wanted)].map((name) => devices[name]);
  return [
    `# Devices that were asked for (${wanted.join(", ")}), and no others.`,
    "DevicePolicy=closed",
    ...rows.flatMap(({ classes }) => classes.map((name) => `DeviceAllow=${name} rw`)),
    `SupplementaryGroups=${rows.map(({ group }) => group).join(" ")}`,
  ].join("\n");
};

/** One word of ExecStart=, whatever is in it. */
const unitWord = (word: string): string => {
  const escaped = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w@%+=:,./$-]+$/.test(word) ? escaped : `"${escaped.replace(/["\\]/g, "\\$&")}"`;
};

/** A path in a setting that takes several, and a colon between source and destination. */
const pathSetting = (path: string): string => {
  const escaped = path.replaceAll("%", "%%").replace(/[\\:]/g, "\\$&");
  return /[\s"']/.test(path) ? `"${escaped.replaceAll('"', '\\"')}"` : escaped;
};
