// SPDX-License-Identifier: MIT

// River's rates and its latency on the server that neoq_postgres is measured on.
// Usage: river URL single [JOBS] | drain [JOBS] | wake [SAMPLES]
// The schema raw_river of that database is created anew, and removed at the end. Its pool has a connection for each
// goroutine. By default River fetches ten times a second at most, so that a client with a hundred workers runs a thousand
// jobs a second; here it does so every two milliseconds. To how fast it enqueues that makes no difference.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	schema     = "raw_river"
	passes     = 3 // each rate is the median of so many
	batch      = 1000
	goroutines = 16
	workers    = 2000
	warm       = 5 // wakes that are not counted
	cooldown   = 2 * time.Millisecond
)

// The payload of neoq's bench, 67 bytes as JSON; or when it was called.
type args struct {
	To       string `json:"to"`
	Template string `json:"template"`
	Locale   string `json:"locale"`
	Clock    int64  `json:"clock,omitempty"`
}

func (args) Kind() string { return "bench" }

func numbered(number int) args {
	return args{To: fmt.Sprintf("%08x@example.org", number), Template: "welcome", Locale: "en-GB"}
}

type handler struct {
	river.WorkerDefaults[args]
	handle func(args)
}

func (h *handler) Work(_ context.Context, job *river.Job[args]) error {
	h.handle(job.Args)
	return nil
}

type bench struct {
	ctx    context.Context
	config *pgxpool.Config
	pool   *pgxpool.Pool
	driver *riverpgxv5.Driver
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func connect(url string) *bench {
	config, err := pgxpool.ParseConfig(url)
	check(err)
	config.MaxConns = goroutines + 4
	b := &bench{ctx: context.Background(), config: config}
	b.reconnect()
	return b
}

// What is prepared on a connection does not survive its tables.
func (b *bench) reconnect() {
	if b.pool != nil {
		b.pool.Close()
	}
	var err error
	b.pool, err = pgxpool.NewWithConfig(b.ctx, b.config)
	check(err)
	b.driver = riverpgxv5.New(b.pool)
}

func (b *bench) do(sql string) {
	_, err := b.pool.Exec(b.ctx, sql)
	check(err)
}

// An empty store, and nothing of what was written before it left to be paid for.
func (b *bench) openFresh() {
	b.reconnect()
	b.do("DROP SCHEMA IF EXISTS " + schema + " CASCADE")
	b.do("CREATE SCHEMA " + schema)
	migrator, err := rivermigrate.New(b.driver, &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	check(err)
	_, err = migrator.Migrate(b.ctx, rivermigrate.DirectionUp, nil)
	check(err)
	b.do("CHECKPOINT")
}

// Without a handler it only inserts.
func (b *bench) client(handle func(args)) *river.Client[pgx.Tx] {
	config := &river.Config{
		Schema:            schema,
		Logger:            slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		FetchCooldown:     cooldown,
		FetchPollInterval: 10 * cooldown,
	}
	if handle != nil {
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, &handler{handle: handle})
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}
	}
	client, err := river.NewClient(b.driver, config)
	check(err)
	return client
}

func (b *bench) single(jobs int) float64 {
	b.openFresh()
	client := b.client(nil)
	var all sync.WaitGroup
	start := time.Now()
	for g := range goroutines {
		all.Go(func() {
			for i := range jobs / goroutines {
				_, err := client.Insert(b.ctx, numbered(g*jobs+i), nil)
				check(err)
			}
		})
	}
	all.Wait()
	return float64(jobs/goroutines*goroutines) / time.Since(start).Seconds()
}

// From the start of the client until all is written down as completed.
func (b *bench) drain(jobs int) float64 {
	b.openFresh()
	var count atomic.Int64
	done := make(chan struct{})
	client := b.client(func(args) {
		if count.Add(1) == int64(jobs) {
			close(done)
		}
	})
	for first := 0; first < jobs; first += batch {
		many := make([]river.InsertManyParams, min(batch, jobs-first))
		for i := range many {
			many[i].Args = numbered(first + i)
		}
		_, err := client.InsertManyFast(b.ctx, many)
		check(err)
	}
	start := time.Now()
	check(client.Start(b.ctx))
	<-done
	for left := true; left; time.Sleep(time.Millisecond) {
		check(b.pool.QueryRow(b.ctx, "SELECT EXISTS (SELECT FROM "+schema+".river_job WHERE state <> 'completed')").Scan(&left))
	}
	rate := float64(jobs) / time.Since(start).Seconds()
	check(client.Stop(b.ctx))
	return rate
}

// From the call of Insert to the handler's start, the worker asleep; pauses as of neoq_postgres.
func (b *bench) wake(samples int) []float64 {
	b.openFresh()
	arrived := make(chan int64)
	client := b.client(func(a args) { arrived <- time.Now().UnixNano() - a.Clock })
	check(client.Start(b.ctx))
	micros := make([]float64, 0, samples)
	for i := range warm + samples {
		time.Sleep(5*time.Millisecond + time.Duration(i*7919%61)*100*time.Microsecond)
		_, err := client.Insert(b.ctx, args{Clock: time.Now().UnixNano()}, nil)
		check(err)
		if lasted := <-arrived; i >= warm {
			micros = append(micros, float64(lasted)/1e3)
		}
	}
	check(client.Stop(b.ctx))
	slices.Sort(micros)
	return micros
}

func median(measure func(int) float64, number int) float64 {
	values := make([]float64, passes)
	for i := range values {
		values[i] = measure(number)
	}
	slices.Sort(values)
	return values[passes/2]
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: river URL single [JOBS] | drain [JOBS] | wake [SAMPLES]")
	}
	number := map[string]int{"single": 10000, "drain": 50000, "wake": 300}[os.Args[2]]
	if len(os.Args) > 3 {
		number, _ = strconv.Atoi(os.Args[3])
	}
	if number < 1 {
		log.Fatalf("river: %v makes no sense", os.Args[2:])
	}
	b := connect(os.Args[1])
	switch os.Args[2] {
	case "single":
		fmt.Printf("river_single_%d_goroutines_jobs_per_s %.0f\n", goroutines, median(b.single, number))
	case "drain":
		fmt.Printf("river_drain_jobs_per_s %.0f\n", median(b.drain, number))
	case "wake":
		micros := b.wake(number)
		fmt.Printf("river_wake_p50_us %.1f\nriver_wake_p99_us %.1f\n", micros[len(micros)/2], micros[len(micros)*99/100])
	}
	b.do("DROP SCHEMA " + schema + " CASCADE")
	b.pool.Close()
}
