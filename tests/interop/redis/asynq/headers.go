// SPDX-License-Identifier: MIT

//go:build !asynq24

package main

import "github.com/hibiken/asynq"

func newTask(t *task) *asynq.Task {
	return asynq.NewTaskWithHeaders(t.Type, t.payload(), t.Headers)
}

func headersOf(info *asynq.TaskInfo) map[string]string {
	return info.Headers
}

func headersOfTask(t *asynq.Task) map[string]string {
	return t.Headers()
}
