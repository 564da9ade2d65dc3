// SPDX-License-Identifier: MIT

// Go neoq on Redis, for tests to drive: neoq-peer HOST:PORT SUBCOMMAND [ARGUMENT]...
//
//	enqueue          reads jobs, a JSON object a line, and answers each with a line
//	work SETTINGS    works until its input ends; a line for all that happens
//
// Whatever it does, it takes tasks off asynq's queue "default" and fails those that it has no handler for: that is how
// this backend is made. A test that only enqueues pauses the queue before.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/acaloiaro/neoq"
	"github.com/acaloiaro/neoq/backends/redis"
	"github.com/acaloiaro/neoq/handler"
	"github.com/acaloiaro/neoq/jobs"
)

type object = map[string]any

// job is what a line of input asks for.
type job struct {
	Queue       string         `json:"queue"`
	Payload     map[string]any `json:"payload"`
	Fingerprint string         `json:"fingerprint"`
	Retry       *int           `json:"retry"`
	Deadline    int64          `json:"deadline"` // Unix seconds
	In          string         `json:"in"`       // "1m30s"
}

// settings is the argument of work.
type settings struct {
	Behave map[string]string `json:"behave"` // queue -> ok, fail:WORDS, panic:WORDS, sleep:DURATION: these are served
	Cron   map[string]string `json:"cron"`   // spec -> the same
}

var (
	output sync.Mutex
	events = os.Stdout
)

// say writes a line.
func say(value any) {
	text, err := json.Marshal(value)
	check(err)
	output.Lock()
	defer output.Unlock()
	events.Write(append(text, '\n'))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "neoq-peer:", err)
		os.Exit(1)
	}
}

func eachLine(do func(line []byte)) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			do(lines.Bytes())
		}
	}
}

func open(ctx context.Context, address string) neoq.Neoq {
	os.Stdout = os.Stderr // where its log goes
	nq, err := neoq.New(ctx, neoq.WithBackend(redis.Backend), redis.WithAddr(address), redis.WithConcurrency(4))
	check(err)
	return nq
}

func enqueue(ctx context.Context, nq neoq.Neoq) {
	eachLine(func(line []byte) {
		var j job
		check(json.Unmarshal(line, &j))
		made := &jobs.Job{Queue: j.Queue, Payload: j.Payload, Fingerprint: j.Fingerprint, MaxRetries: j.Retry}
		if j.Deadline != 0 {
			deadline := time.Unix(j.Deadline, 0)
			made.Deadline = &deadline
		}
		if j.In != "" {
			in, err := time.ParseDuration(j.In)
			check(err)
			made.RunAfter = time.Now().Add(in)
		}
		id, err := nq.Enqueue(ctx, made)
		answer := object{"id": id}
		if err != nil {
			answer["error"] = err.Error()
		}
		say(answer)
	})
}

func behave(how string) handler.Func {
	return func(ctx context.Context) error {
		j, err := jobs.FromContext(ctx)
		check(err)
		say(object{"event": "start", "queue": j.Queue, "payload": j.Payload})
		verb, words, _ := strings.Cut(how, ":")
		switch verb {
		case "fail":
			return errors.New(words)
		case "panic":
			panic(words)
		case "sleep":
			d, err := time.ParseDuration(words)
			check(err)
			time.Sleep(d)
		}
		return nil
	}
}

func work(ctx context.Context, nq neoq.Neoq, text string) {
	var s settings
	check(json.Unmarshal([]byte(text), &s))
	for queue, how := range s.Behave {
		check(nq.Start(ctx, handler.New(queue, behave(how))))
	}
	for spec, how := range s.Cron {
		check(nq.StartCron(ctx, spec, handler.NewPeriodic(behave(how))))
	}
	say(object{"event": "ready"})
	eachLine(func([]byte) {})
	nq.Shutdown(ctx)
	say(object{"event": "stopped"})
}

func main() {
	if len(os.Args) < 3 {
		check(errors.New("usage: neoq-peer HOST:PORT enqueue|work SETTINGS"))
	}
	ctx := context.Background()
	nq := open(ctx, os.Args[1])
	switch {
	case os.Args[2] == "enqueue":
		enqueue(ctx, nq)
	case os.Args[2] == "work" && len(os.Args) == 4:
		work(ctx, nq, os.Args[3])
	default:
		check(fmt.Errorf("no such subcommand: %q", os.Args[2]))
	}
}
