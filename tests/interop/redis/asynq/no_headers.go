// SPDX-License-Identifier: MIT

//go:build asynq24

// Before asynq 0.26 tasks had no headers.
package main

import (
	"errors"

	"github.com/hibiken/asynq"
)

func newTask(t *task) *asynq.Task {
	if len(t.Headers) > 0 {
		fail(errors.New("this version of asynq knows no headers"))
	}
	return asynq.NewTask(t.Type, t.payload())
}

func headersOf(*asynq.TaskInfo) map[string]string {
	return nil
}

func headersOfTask(*asynq.Task) map[string]string {
	return nil
}
