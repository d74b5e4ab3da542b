/** Every task, with a form made from its schema. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { refreshTasks } from "./live.ts";
import { Card, Failure, Search } from "./parts.tsx";
import { type Listing, type State, useInterval, useStore } from "./store.ts";
import { TaskForm } from "./task-form.tsx";
import type { Task } from "./types.ts";

const readTasks = ({ tasks }: State): Listing<Task> => tasks;
const refresh = (): void => void refreshTasks();
const everyMs = 5_000;
export const TasksView = (): JSX.Element => {
  const { rows, failure } = useStore(readTasks);
  const [text, setText] = useState("");
  useInterval(refresh, everyMs);
  const shown = rows.filter(({ name }) => name.toLowerCase().includes(text.toLowerCase()));
  return (
    <Card title="Tasks" note={`${rows.length}`}>
      <Failure text={failure} />
      <Search rows={rows.length} text={text} onText={setText} />
      {shown.length === 0 && <p class="empty">No such task.</p>}
      <ul class="folds">
        {shown.map((task) => (
          <li key={task.name}>
            <Fold task={task} />
          </li>
        ))}
      </ul>
    </Card>
  );
};

/** The form is made when it is opened, and keeps what was typed while it is closed. */
const Fold = ({ task }: { readonly task: Task }): JSX.Element => {
  const [wasOpen, setWasOpen] = useState(false);
  return (
    <details onToggle={(event) => event.currentTarget.open && setWasOpen(true)}>
      <summary>
        <span class="name">{task.name}</span>
        <span class="note">{task.workers === 0 ? "no worker" : ""}</span>
      </summary>
      {wasOpen && <TaskForm task={task} />}
    </details>
  );
};
