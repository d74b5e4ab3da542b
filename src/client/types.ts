/** The types that programs import from the package. */
export type { TopicValue } from "../data/topic-value.ts";
export type { BinaryData } from "../protocol/arrays.ts";
export type { Stopped, StopResult } from "../protocol/blocked.ts";
export type { ClientErrorCode, ErrorCode } from "../protocol/errors.ts";
export type { Meta, PackSeconds } from "../protocol/frames.ts";
export type { Json, JsonObject } from "../protocol/json.ts";
export type { BinaryType, ItemType } from "../protocol/values.ts";
export type { ArgsSource, BatchProgress, PartResult } from "./batch.ts";
export type { EngineStatus, TaskListing } from "./control.ts";
export type { JobLogLine, JobReport, ScheduleListing } from "./control-jobs.ts";
export type { Published, PublishOptions, PublishRefusal, TopicListing } from "./data-plane.ts";
export type { DetachedJob, JobFilter, ResultOptions } from "./job-client.ts";
export type {
  BatchOptions,
  BinaryCallOptions,
  CallOptions,
  ConnectOptions,
  DetachOptions,
  JobOptions,
  ResetOptions,
  Trace,
} from "./options.ts";
export type { BinaryReply, TaskReply } from "./pending.ts";
export type { SubscribeOptions, Subscription, SubscriptionEvent } from "./subscription.ts";
