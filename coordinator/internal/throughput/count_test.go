package throughput_test

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/coordinator/internal/throughput"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestCount: shards add up, who works on several counts once, and the rate is that at which units were seen to end. While
// somebody follows jobs, agents are asked more often.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		job := p.Admit("two-shards", func(m *manifest.Manifest) { m.Units = 2 * 16384 })
		if job.Manifest.Shards() != 2 {
			t.Fatalf("%d shards", job.Manifest.Shards())
		}
		one, two := make([]byte, 32), make([]byte, 32)
		two[0] = 1
		var asked atomic.Int64
		began := time.Now()
		p.Answer = func(_ jobs.AgentID, _ string, request any) (proto.Message, error) {
			asked.Add(1)
			done := uint64(time.Since(began) / time.Second) // one a second and shard
			r := &gridv1.SummaryReply{
				Open: 16384 - done, Accepted: done - min(done, 2), Failed: min(done, 1), Conflict: min(done, 2) - min(done, 1), Lent: 8, Stewards: 3,
				Lessees: [][]byte{one}, UsefulCpuUs: math.MaxUint64, // a liar
			}
			if request.(*gridv1.SummaryRequest).GetShard().GetShard() == 1 {
				r.Lessees, r.UsefulCpuUs = append(r.Lessees, two), 1_500_000
			}
			return r, nil
		}
		var watched atomic.Bool
		g := throughput.New(throughput.Options{
			Store: p.Store, Members: p.Members, Dial: p.Dial, Register: p.registry, Watched: watched.Load, Log: slog.New(slog.DiscardHandler),
		})
		if c := g.Job(job); c.Known || c.Open > 0 || g.Shards(job, 64)[1] != nil {
			t.Errorf("before anything was asked: %+v", c)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.Run(ctx)
		}()
		time.Sleep(91 * time.Second)
		synctest.Wait()
		c := g.Job(job)
		if !c.Known || c.Open+c.Accepted+c.Failed+c.Conflict != 2*16384 || c.Failed != 2 || c.Conflict != 2 || c.Lent != 16 || c.Agents != 2 || c.CPU <= 0 {
			t.Errorf("%+v", c)
		}
		if c.Rate < 1.7 || c.Rate > 2.1 {
			t.Errorf("%v units a second, expected 2", c.Rate)
		}
		if s := g.Shards(job, 1); len(s) != 1 || s[0].GetStewards() != 3 {
			t.Errorf("shards %v", s)
		}
		for _, follows := range []struct {
			watched  bool
			from, to int64 // questions a minute, for two shards
		}{{false, 10, 14}, {true, 58, 62}} {
			watched.Store(follows.watched)
			before := asked.Load()
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := asked.Load() - before; n < follows.from || n > follows.to {
				t.Errorf("watched %v: asked %d times a minute", follows.watched, n)
			}
		}
		cancel()
		<-done
	})
}
