// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// settings is the argument of work.
type settings struct {
	Queues      map[string]int    `json:"queues"` // with their weights; none: "default"
	Strict      bool              `json:"strict"`
	Concurrency int               `json:"concurrency"` // 0 = 1
	RetryDelay  string            `json:"retry_delay"` // none: asynq's own
	Shutdown    string            `json:"shutdown"`    // what running tasks get to finish in; none: asynq's own
	Aggregate   string            `json:"aggregate"`   // the grace period after which a group becomes one task "group"
	Behave      map[string]string `json:"behave"`      // a task's type -> ok, fail:WORDS, skip:WORDS, panic:WORDS,
	// sleep:DURATION, wait (until it is cancelled), result:TEXT; what is not named is ok
}

// quiet keeps asynq's log out of the way; the tests see events.
type quiet struct{}

func (quiet) Debug(...any)       {}
func (quiet) Info(...any)        {}
func (quiet) Warn(...any)        {}
func (quiet) Error(...any)       {}
func (quiet) Fatal(words ...any) { fail(fmt.Errorf("%v", words)) }

func event(what string, ctx context.Context, t *asynq.Task) object {
	id, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	retried, _ := asynq.GetRetryCount(ctx)
	most, _ := asynq.GetMaxRetry(ctx)
	return object{"event": what, "id": id, "queue": queue, "type": t.Type(), "payload": string(t.Payload()),
		"payload_hex": hex.EncodeToString(t.Payload()), "retried": retried, "retry": most,
		"headers": headersOfTask(t)}
}

func behave(ctx context.Context, t *asynq.Task, how string) error {
	verb, words, _ := strings.Cut(how, ":")
	switch verb {
	case "", "ok":
		return nil
	case "fail":
		return errors.New(words)
	case "skip":
		return fmt.Errorf("%s: %w", words, asynq.SkipRetry)
	case "panic":
		panic(words)
	case "sleep":
		time.Sleep(duration(words))
		return nil
	case "wait":
		<-ctx.Done()
		return ctx.Err()
	case "result":
		_, err := t.ResultWriter().Write([]byte(words))
		return err
	}
	fail(fmt.Errorf("no such behaviour: %q", how))
	return nil
}

func (s *settings) handle(ctx context.Context, t *asynq.Task) error {
	say(event("start", ctx, t))
	err := behave(ctx, t, s.Behave[t.Type()])
	end := event("end", ctx, t)
	if err != nil {
		end["error"] = err.Error()
	}
	say(end)
	return err
}

func (s *settings) config() asynq.Config {
	c := asynq.Config{Concurrency: s.Concurrency, Queues: s.Queues, StrictPriority: s.Strict, Logger: quiet{},
		DelayedTaskCheckInterval: 100 * time.Millisecond, ShutdownTimeout: duration(s.Shutdown)}
	if c.Concurrency == 0 {
		c.Concurrency = 1
	}
	if s.RetryDelay != "" {
		delay := duration(s.RetryDelay)
		c.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return delay }
	}
	if s.Aggregate != "" {
		c.GroupGracePeriod = duration(s.Aggregate)
		c.GroupAggregator = asynq.GroupAggregatorFunc(func(_ string, all []*asynq.Task) *asynq.Task {
			var payloads []string
			for _, one := range all {
				payloads = append(payloads, string(one.Payload()))
			}
			return asynq.NewTask("group", []byte(strings.Join(payloads, ",")))
		})
	}
	return c
}

func work(to asynq.RedisClientOpt, text string) {
	var s settings
	check(json.Unmarshal([]byte(text), &s))
	server := asynq.NewServer(to, s.config())
	check(server.Start(asynq.HandlerFunc(s.handle)))
	say(object{"event": "ready"})
	eachLine(func([]byte) {})
	server.Shutdown()
	say(object{"event": "stopped"})
}

func schedule(to asynq.RedisClientOpt) {
	scheduler := asynq.NewScheduler(to, &asynq.SchedulerOpts{Logger: quiet{}, Location: time.UTC})
	started := false
	eachLine(func(line []byte) {
		var t task
		check(json.Unmarshal(line, &t))
		id, err := scheduler.Register(t.Spec, newTask(&t), t.options()...)
		check(err)
		if !started {
			check(scheduler.Start())
			started = true
		}
		say(object{"event": "registered", "id": id})
	})
	if started {
		scheduler.Shutdown()
	}
	say(object{"event": "stopped"})
}
