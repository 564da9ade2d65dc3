// SPDX-License-Identifier: MIT

// asynq's rates and its latency on the server that neoq_redis is measured on.
// Usage: asynq URL single [JOBS] | drain [JOBS] | wake [SAMPLES]
// All that this Redis has is deleted. A server of asynq fetches one job after the other, however many it runs at once.
package main

import (
	"context"
	"fmt"
	"log"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	passes      = 3 // each rate is the median of so many
	goroutines  = 16
	concurrency = 50
)

type bench struct {
	ctx   context.Context
	to    asynq.RedisClientOpt
	redis *redis.Client
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// redis+unix://PATH or redis://HOST:PORT.
func connect(text string) *bench {
	u, err := url.Parse(text)
	check(err)
	to := asynq.RedisClientOpt{Network: "tcp", Addr: u.Host}
	if u.Scheme == "redis+unix" {
		to = asynq.RedisClientOpt{Network: "unix", Addr: u.Path}
	}
	b := &bench{ctx: context.Background(), to: to, redis: to.MakeRedisClient().(*redis.Client)}
	keys, err := b.redis.DBSize(b.ctx).Result()
	check(err)
	if keys > 0 {
		log.Fatalf("%s has keys, all of which would be deleted: use an empty Redis", text)
	}
	return b
}

// An empty server, and an empty file of its own, as neoq_redis begins with.
func (b *bench) clear() {
	check(b.redis.FlushAll(b.ctx).Err())
	check(b.redis.BgRewriteAOF(b.ctx).Err())
	for rewriting := true; rewriting; time.Sleep(10 * time.Millisecond) {
		info := b.redis.InfoMap(b.ctx, "persistence")
		check(info.Err())
		rewriting = info.Item("Persistence", "aof_rewrite_in_progress") != "0" ||
			info.Item("Persistence", "aof_rewrite_scheduled") != "0"
	}
}

// The payload of neoq's bench, 67 bytes.
func numbered(number int) *asynq.Task {
	return asynq.NewTask("bench", fmt.Appendf(nil, `{"to":"%08x@example.org","template":"welcome","locale":"en-GB"}`, number))
}

func (b *bench) start(handle func(*asynq.Task)) *asynq.Server {
	server := asynq.NewServer(b.to, asynq.Config{Concurrency: concurrency, LogLevel: asynq.ErrorLevel})
	check(server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handle(task)
		return nil
	})))
	return server
}

// Many at once is not offered.
func (b *bench) fill(jobs int) {
	client := asynq.NewClient(b.to)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := g; i < jobs; i += goroutines {
				_, err := client.Enqueue(numbered(i))
				check(err)
			}
		})
	}
	all.Wait()
	check(client.Close())
}

func (b *bench) single(jobs int) float64 {
	b.clear()
	b.fill(1) // so that the queue is there, and the script
	start := time.Now()
	b.fill(jobs)
	return float64(jobs) / time.Since(start).Seconds()
}

// From the start of the server until none is left.
func (b *bench) drain(jobs int) float64 {
	b.clear()
	b.fill(jobs)
	var count atomic.Int64
	done := make(chan struct{})
	start := time.Now()
	server := b.start(func(*asynq.Task) {
		if count.Add(1) == int64(jobs) {
			close(done)
		}
	})
	<-done
	for left := int64(1); left > 0; time.Sleep(time.Millisecond) {
		var err error
		left, err = b.redis.LLen(b.ctx, "asynq:{default}:active").Result()
		check(err)
	}
	rate := float64(jobs) / time.Since(start).Seconds()
	server.Shutdown()
	return rate
}

// From the call of Enqueue to the handler's start, the server asleep; at any moment of its second.
func (b *bench) wake(samples int) []float64 {
	b.clear()
	client := asynq.NewClient(b.to)
	arrived := make(chan time.Time)
	server := b.start(func(*asynq.Task) { arrived <- time.Now() })
	micros := make([]float64, samples)
	for i := range micros {
		time.Sleep(5*time.Millisecond + time.Duration(i*7919%1000)*time.Millisecond)
		called := time.Now()
		_, err := client.Enqueue(numbered(i))
		check(err)
		micros[i] = float64((<-arrived).Sub(called).Nanoseconds()) / 1e3
	}
	server.Shutdown()
	check(client.Close())
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
		log.Fatal("usage: asynq URL single [JOBS] | drain [JOBS] | wake [SAMPLES]")
	}
	number := map[string]int{"single": 40000, "drain": 10000, "wake": 20}[os.Args[2]]
	if len(os.Args) > 3 {
		number, _ = strconv.Atoi(os.Args[3])
	}
	if number < 1 {
		log.Fatalf("asynq: %v makes no sense", os.Args[2:])
	}
	b := connect(os.Args[1])
	switch os.Args[2] {
	case "single":
		fmt.Printf("asynq_single_%d_goroutines_jobs_per_s %.0f\n", goroutines, median(b.single, number))
	case "drain":
		fmt.Printf("asynq_drain_jobs_per_s %.0f\n", median(b.drain, number))
	case "wake":
		micros := b.wake(number)
		fmt.Printf("asynq_wake_p50_us %.1f\nasynq_wake_p99_us %.1f\n", micros[len(micros)/2], micros[len(micros)*99/100])
	}
	b.clear()
	check(b.redis.Close())
}
