// SPDX-License-Identifier: MIT

package main

import (
	"encoding/hex"
	"errors"
	"time"

	"github.com/hibiken/asynq"
)

// unix is 0 for "never".
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func describe(t *asynq.TaskInfo) object {
	return object{"id": t.ID, "queue": t.Queue, "type": t.Type, "payload": string(t.Payload),
		"payload_hex": hex.EncodeToString(t.Payload), "state": t.State.String(), "retry": t.MaxRetry,
		"retried": t.Retried, "error": t.LastErr, "failed_at": unix(t.LastFailedAt), "timeout": t.Timeout.String(),
		"deadline": unix(t.Deadline), "group": t.Group, "next_at": unix(t.NextProcessAt), "orphaned": t.IsOrphaned,
		"retention": t.Retention.String(), "completed_at": unix(t.CompletedAt), "result": string(t.Result),
		"headers": headersOf(t)}
}

type lister = func(queue string, options ...asynq.ListOption) ([]*asynq.TaskInfo, error)

func list(of lister, queue string) []object {
	all := []object{}
	for page := 1; ; page++ {
		tasks, err := of(queue, asynq.PageSize(1000), asynq.Page(page))
		check(err)
		for _, t := range tasks {
			all = append(all, describe(t))
		}
		if len(tasks) < 1000 {
			return all
		}
	}
}

func describeQueue(i *asynq.Inspector, queue string) object {
	info, err := i.GetQueueInfo(queue)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return object{"missing": true}
	}
	check(err)
	result := object{"size": info.Size, "paused": info.Paused, "processed": info.ProcessedTotal,
		"failed": info.FailedTotal, "groups": object{}}
	for state, of := range map[string]lister{"pending": i.ListPendingTasks, "active": i.ListActiveTasks,
		"scheduled": i.ListScheduledTasks, "retry": i.ListRetryTasks, "archived": i.ListArchivedTasks,
		"completed": i.ListCompletedTasks} {
		result[state] = list(of, queue)
	}
	groups, err := i.Groups(queue)
	check(err)
	for _, g := range groups {
		result["groups"].(object)[g.Group] = list(func(queue string, o ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
			return i.ListAggregatingTasks(queue, g.Group, o...)
		}, queue)
	}
	return result
}

func describeServers(i *asynq.Inspector) []object {
	all := []object{}
	servers, err := i.Servers()
	check(err)
	for _, s := range servers {
		runs := []object{}
		for _, w := range s.ActiveWorkers {
			runs = append(runs, object{"id": w.TaskID, "type": w.TaskType, "queue": w.Queue,
				"payload": string(w.TaskPayload), "started": unix(w.Started), "deadline": unix(w.Deadline)})
		}
		all = append(all, object{"id": s.ID, "host": s.Host, "pid": s.PID, "concurrency": s.Concurrency,
			"queues": s.Queues, "strict": s.StrictPriority, "started": unix(s.Started), "status": s.Status, "runs": runs})
	}
	return all
}

func describeSchedules(i *asynq.Inspector) []object {
	all := []object{}
	entries, err := i.SchedulerEntries()
	check(err)
	for _, e := range entries {
		options := []string{}
		for _, o := range e.Opts {
			options = append(options, o.String())
		}
		all = append(all, object{"id": e.ID, "spec": e.Spec, "type": e.Task.Type(), "payload": string(e.Task.Payload()),
			"options": options, "next": unix(e.Next), "last": unix(e.Prev)})
	}
	return all
}

// inspect shows all queues, or those that are named.
func inspect(i *asynq.Inspector, queues []string) {
	if len(queues) == 0 {
		var err error
		queues, err = i.Queues()
		check(err)
	}
	all := object{}
	for _, q := range queues {
		all[q] = describeQueue(i, q)
	}
	say(object{"queues": all, "servers": describeServers(i), "schedules": describeSchedules(i)})
}
