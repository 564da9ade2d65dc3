// SPDX-License-Identifier: MIT

// Real asynqmon, for tests to drive: asynqmon URL ask
//
// It reads lines "METHOD PATH", such as "GET /api/queues", and answers each with a line {"status": ..., "body": ...}: what
// its handler says to that request. URL is redis+unix:// as neoq has it, with ?db=.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "asynqmon:", err)
		os.Exit(1)
	}
}

func connection(text string) asynq.RedisClientOpt {
	u, err := url.Parse(text)
	check(err)
	database := 0
	if text := u.Query().Get("db"); text != "" {
		database, err = strconv.Atoi(text)
		check(err)
	}
	return asynq.RedisClientOpt{Network: "unix", Addr: u.Path, DB: database}
}

func main() {
	if len(os.Args) != 3 || os.Args[2] != "ask" {
		check(fmt.Errorf("usage: asynqmon URL ask"))
	}
	handler := asynqmon.New(asynqmon.Options{RedisConnOpt: connection(os.Args[1])})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		method, path, _ := strings.Cut(lines.Text(), " ")
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(method, path, nil))
		answer := map[string]any{"status": response.Code}
		var body any
		if json.Unmarshal(response.Body.Bytes(), &body) == nil {
			answer["body"] = body
		} else {
			answer["words"] = response.Body.String()
		}
		text, err := json.Marshal(answer)
		check(err)
		fmt.Println(string(text))
	}
	check(handler.Close())
}
