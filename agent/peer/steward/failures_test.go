package steward

import (
	"slices"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestFailures: the first units that failed, in order, as many as are wanted, however many others lie between.
func TestFailures(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1)
		const bundle = 4
		j := b.job(true, bundle*manifest.ShardBundles, bundle, func(m *manifest.Manifest) { m.Retries = 0 })
		shard := records.ShardToProto(shardOf(j, 0))
		coordinator := rpc.WithCaller(t.Context(), identity.Caller{Role: peer.Coordinator, NotAfter: time.Now().Add(time.Hour)})
		failed := func(most uint32) (units []uint64) {
			t.Helper()
			r, err := b.Failures(coordinator, &gridv1.FailuresRequest{Shard: shard, Most: most})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range r.GetUnits() {
				units = append(units, u.GetUnit())
				if u.GetFailure() == nil || u.GetAttempts() != 1 || u.GetPack() == nil || len(u.GetAuthor()) == 0 {
					t.Errorf("failure %v", u)
				}
			}
			return units
		}
		if got := failed(100); len(got) > 0 {
			t.Errorf("before anything ran: %v", got)
		}
		last := uint64(manifest.ShardBundles - 1)
		b.report(1, j, true, 2, last)
		b.report(1, j, false, 1, 3)
		ends := []uint64{last * bundle, last*bundle + 1, last*bundle + 2, last*bundle + 3}
		if got := failed(100); !slices.Equal(got, append([]uint64{8, 9, 10, 11}, ends...)) {
			t.Errorf("failed %v", got)
		}
		if got := failed(5); !slices.Equal(got, []uint64{8, 9, 10, 11, ends[0]}) {
			t.Errorf("the first five: %v", got)
		}
		if got := failed(0); len(got) > 0 {
			t.Errorf("none wanted: %v", got)
		}
		b.report(1, j, false, 2)
		if got := failed(100); !slices.Equal(got, ends) {
			t.Errorf("after a later success: %v", got)
		}
		b.add(false, b.offer(record.TypeCancel, (&record.Cancel{Job: j.ID}).Encode(), b.submitter))
		if got := failed(100); len(got) > 0 {
			t.Errorf("of a job that was cancelled: %v", got)
		}

		// P10: the coordinator alone, which shows them to those who may see the job.
		for _, who := range []identity.Caller{{}, {Role: peer.Agent}, {Role: peer.Submitter, ID: j.Manifest.Submitter}, {Role: peer.Operator}} {
			who.NotAfter = time.Now().Add(time.Hour)
			if _, err := b.Failures(rpc.WithCaller(t.Context(), who), &gridv1.FailuresRequest{Shard: shard, Most: 1}); kindOf(err) != jobs.Denied {
				t.Errorf("role %s: %v", who.Role, err)
			}
		}
		for name, c := range map[string]struct {
			scope *gridv1.Scope
			want  jobs.ErrorKind
		}{
			"no shard":       {nil, jobs.NotFound},
			"half a job":     {&gridv1.Scope{Job: []byte("x")}, jobs.Invalid},
			"an unknown job": {records.ShardToProto(jobs.ShardID{Job: jobs.JobID{1}}), jobs.NotFound},
			"no such shard":  {records.ShardToProto(shardOf(j, 1)), jobs.Invalid},
		} {
			if _, err := b.Failures(coordinator, &gridv1.FailuresRequest{Shard: c.scope, Most: 1}); kindOf(err) != c.want {
				t.Errorf("of %s: %v", name, err)
			}
		}
	})
}
