// SPDX-License-Identifier: MIT

// Real asynq, for tests to drive: asynq-peer URL SUBCOMMAND [ARGUMENT]...
//
//	enqueue             reads tasks, a JSON object a line, and answers each with a line
//	work SETTINGS       works until its input ends; a line for all that happens
//	schedule            reads entries, a JSON object a line, and enqueues them on time until its input ends
//	inspect [QUEUE]     all that asynq's Inspector knows, as one JSON object
//	cancel ID           asks whoever runs the task to stop
//	pause | unpause QUEUE
//	run | archive | delete QUEUE ID
//
// URL is redis://, rediss:// or redis+unix:// as neoq has it, with ?db= and ?ca=. Durations are Go's ("1m30s"), times
// Unix seconds, payloads text or, in "payload_hex", any bytes.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

type object = map[string]any

var output sync.Mutex

// say writes a line.
func say(value any) {
	text, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "asynq-peer:", err)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

// duration reads "1m30s"; nothing is 0.
func duration(text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	check(err)
	return d
}

// eachLine calls do for every line of the input.
func eachLine(do func(line []byte)) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			do(lines.Bytes())
		}
	}
}

func trust(file string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file != "" {
		pem, err := os.ReadFile(file)
		check(err)
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	return config
}

func connection(text string) asynq.RedisClientOpt {
	u, err := url.Parse(text)
	check(err)
	to := asynq.RedisClientOpt{Network: "tcp", Addr: u.Host}
	database := u.Query().Get("db")
	switch u.Scheme {
	case "redis+unix":
		to.Network, to.Addr = "unix", u.Path
	case "rediss":
		to.TLSConfig = trust(u.Query().Get("ca"))
		to.TLSConfig.ServerName = u.Hostname()
	case "redis":
	default:
		fail(fmt.Errorf("no such scheme: %q", u.Scheme))
	}
	if path := strings.Trim(u.Path, "/"); database == "" && to.Network == "tcp" {
		database = path
	}
	if database != "" {
		to.DB, err = strconv.Atoi(database)
		check(err)
	}
	to.Username = u.User.Username()
	to.Password, _ = u.User.Password()
	return to
}

func need(arguments []string, count int) {
	if len(arguments) != count {
		fail(fmt.Errorf("%d arguments are too few or too many", len(arguments)))
	}
}

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: asynq-peer URL enqueue|work|schedule|inspect|cancel|pause|unpause|run|archive|delete ..."))
	}
	to, subcommand, rest := connection(os.Args[1]), os.Args[2], os.Args[3:]
	switch subcommand {
	case "enqueue":
		enqueue(to)
		return
	case "work":
		need(rest, 1)
		work(to, rest[0])
		return
	case "schedule":
		schedule(to)
		return
	}
	inspector := asynq.NewInspector(to)
	defer inspector.Close()
	switch subcommand {
	case "inspect":
		inspect(inspector, rest)
	case "cancel":
		need(rest, 1)
		check(inspector.CancelProcessing(rest[0]))
	case "pause":
		need(rest, 1)
		check(inspector.PauseQueue(rest[0]))
	case "unpause":
		need(rest, 1)
		check(inspector.UnpauseQueue(rest[0]))
	case "run":
		need(rest, 2)
		check(inspector.RunTask(rest[0], rest[1]))
	case "archive":
		need(rest, 2)
		check(inspector.ArchiveTask(rest[0], rest[1]))
	case "delete":
		need(rest, 2)
		check(inspector.DeleteTask(rest[0], rest[1]))
	default:
		fail(fmt.Errorf("no such subcommand: %q", subcommand))
	}
}
