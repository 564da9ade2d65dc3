// SPDX-License-Identifier: MIT

package main

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/hibiken/asynq"
)

// task is what a line of input asks for. What is left out is asynq's own default.
type task struct {
	Type       string            `json:"type"`
	Payload    string            `json:"payload"`
	PayloadHex *string           `json:"payload_hex"`
	Null       bool              `json:"null"` // no payload at all, which is not the same as an empty one
	Headers    map[string]string `json:"headers"`
	ID         string            `json:"id"`
	Queue      string            `json:"queue"`
	Group      string            `json:"group"`
	Retry      *int              `json:"retry"`
	Timeout    string            `json:"timeout"`
	Deadline   int64             `json:"deadline"`
	Unique     string            `json:"unique"`
	In         string            `json:"in"`
	At         int64             `json:"at"`
	Retention  string            `json:"retention"`
	Spec       string            `json:"spec"` // of schedule alone
}

func (t *task) payload() []byte {
	if t.Null {
		return nil
	}
	if t.PayloadHex == nil {
		return []byte(t.Payload)
	}
	bytes, err := hex.DecodeString(*t.PayloadHex)
	check(err)
	if bytes == nil {
		bytes = []byte{}
	}
	return bytes
}

func (t *task) options() []asynq.Option {
	var o []asynq.Option
	if t.ID != "" {
		o = append(o, asynq.TaskID(t.ID))
	}
	if t.Queue != "" {
		o = append(o, asynq.Queue(t.Queue))
	}
	if t.Group != "" {
		o = append(o, asynq.Group(t.Group))
	}
	if t.Retry != nil {
		o = append(o, asynq.MaxRetry(*t.Retry))
	}
	if t.Timeout != "" {
		o = append(o, asynq.Timeout(duration(t.Timeout)))
	}
	if t.Deadline != 0 {
		o = append(o, asynq.Deadline(time.Unix(t.Deadline, 0)))
	}
	if t.Unique != "" {
		o = append(o, asynq.Unique(duration(t.Unique)))
	}
	if t.In != "" {
		o = append(o, asynq.ProcessIn(duration(t.In)))
	}
	if t.At != 0 {
		o = append(o, asynq.ProcessAt(time.Unix(t.At, 0)))
	}
	if t.Retention != "" {
		o = append(o, asynq.Retention(duration(t.Retention)))
	}
	return o
}

func enqueue(to asynq.RedisClientOpt) {
	client := asynq.NewClient(to)
	defer client.Close()
	eachLine(func(line []byte) {
		var t task
		check(json.Unmarshal(line, &t))
		info, err := client.Enqueue(newTask(&t), t.options()...)
		if err != nil {
			say(object{"error": err.Error()})
		} else {
			say(describe(info))
		}
	})
}
