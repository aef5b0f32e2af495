package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxFailures bounds the failed units that the page shows of a job, maxStderr what it shows of each, in bytes, and
	// maxPack what is fetched for that: agents make packs of 8 MiB, or with one outcome that is larger.
	maxFailures = 20
	maxStderr   = 2 << 10
	maxPack     = 16 << 20
	// findTimeout bounds how long agents are asked for one page, and how long another page waits for that.
	findTimeout = 15 * time.Second
	// findingLife is how old what the page shows of a job's failures may be, and maxFindings how many jobs are
	// remembered.
	findingLife = 15 * time.Second
	maxFindings = 64
)

// reader finds out for the page what this coordinator does not keep: why units failed, what they wrote, and which inputs
// a job has. It asks agents, one question at a time, and keeps the answers for a while.
type reader struct {
	members func() []peer.Member
	dial    func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	self    jobs.AgentID
	folder  string // of the working copies
	blobs   *blobs.Dir
	client  *blobs.Client
	log     *slog.Logger

	busy chan struct{} // holds a token while agents are asked

	mu    sync.Mutex // guards found
	found map[jobs.JobID]finding
}

// finding is what was found out of a job.
type finding struct {
	at       time.Time
	of       uint64 // failed units, then
	part     bool   // something of it could not be had
	failures []web.Failure
	inputs   []manifest.Input
	problems []string
}

// openPack is the pack that was read last: units that failed one after the other often lie in one.
type openPack struct {
	blob jobs.Blob
	pack *record.Pack
}

func (c *Coordinator) newReader(dial func(string, jobs.AgentID) (grpc.ClientConnInterface, error)) (*reader, error) {
	r := &reader{members: c.node.Members, dial: dial, self: c.node.ID(), log: c.log.With("component", "page"), busy: make(chan struct{}, 1), found: map[jobs.JobID]finding{}}
	var err error
	if r.folder, err = os.MkdirTemp("", "gridcoordinator-page-"); err != nil {
		return nil, err
	}
	if r.blobs, err = blobs.OpenDir(filepath.Join(r.folder, "blobs"), 0); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.client = blobs.NewClient(r.blobs, c.node.Dialer, c.node.Identity().Key)
	return r, nil
}

func (r *reader) close() error {
	var err error
	if r.blobs != nil {
		err = r.blobs.Close()
	}
	return errors.Join(err, os.RemoveAll(r.folder))
}

// find returns what is known of a job, asked anew if that is old. failed is how many units failed, by shard.
func (r *reader) find(ctx context.Context, job records.Job, failed []uint64) (finding, error) {
	sum := uint64(0)
	for _, n := range failed {
		sum += n
	}
	last := r.last(job.ID)
	if !last.at.IsZero() && (last.of == sum && !last.part || time.Since(last.at) < findingLife) {
		return last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	case <-ctx.Done():
		return last, nil // another page asks; what was known before will do
	}
	f := finding{at: time.Now(), of: sum, inputs: last.inputs}
	if list := job.Manifest.Inputs; !list.IsZero() && f.inputs == nil {
		if text, err := r.read(ctx, job.ID, list, maxPack); err != nil {
			f.miss("which inputs it has is not known now: %v", err)
		} else if f.inputs, err = manifest.DecodeInputs(text); err != nil {
			return finding{}, err
		}
	}
	for n, failures := range failed {
		if failures > 0 && len(f.failures) < maxFailures {
			r.addFailures(ctx, job, uint32(n), &f)
		}
	}
	r.keep(job.ID, f)
	return f, nil
}

func (r *reader) last(job jobs.JobID) finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[job]
}

func (r *reader) keep(job jobs.JobID, f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.found) >= maxFindings {
		clear(r.found)
	}
	r.found[job] = f
}

// addFailures asks the stewards of a shard, the first choice first.
func (r *reader) addFailures(ctx context.Context, job records.Job, n uint32, f *finding) {
	shard := jobs.ShardID{Job: job.ID, Shard: n}
	for _, m := range peer.Stewards(shard, r.members()) {
		reply, err := r.ask(ctx, m, &gridv1.FailuresRequest{Shard: records.ShardToProto(shard), Most: uint32(maxFailures - len(f.failures))})
		if err != nil {
			r.log.Debug("a steward does not say which units failed", "shard", shard, "steward", m.ID, "err", err)
			continue
		}
		var open openPack
		for _, u := range reply.GetUnits()[:min(len(reply.GetUnits()), maxFailures-len(f.failures))] {
			one := r.failure(ctx, job.ID, u, &open)
			f.part = f.part || one.Missing != ""
			f.failures = append(f.failures, one)
		}
		return
	}
	f.miss("why units of shard %d failed is not known now: no steward of it answers", n)
}

func (r *reader) ask(ctx context.Context, m peer.Member, req *gridv1.FailuresRequest) (*gridv1.FailuresReply, error) {
	conn, err := r.dial(m.Address, m.ID)
	if err != nil {
		return nil, err
	}
	return gridv1.NewStewardClient(conn).Failures(ctx, req)
}

// miss notes what could not be found out.
func (f *finding) miss(format string, args ...any) {
	f.part, f.problems = true, append(f.problems, fmt.Sprintf(format, args...))
}

// failure is one failed unit, with the beginning of what it wrote where that can be had.
func (r *reader) failure(ctx context.Context, job jobs.JobID, u *gridv1.FailedUnit, open *openPack) web.Failure {
	out := web.Failure{Unit: u.GetUnit(), Attempts: u.GetAttempts(), Conflict: u.GetFailure() == nil}
	if why, err := record.FailureFromProto(u.GetFailure()); err != nil {
		out.Text = "a steward tells of it what cannot be read"
	} else if !out.Conflict {
		out.Kind, out.Text = why.Kind.String(), why.Text
	}
	if len(u.GetOutcome()) == 0 || u.GetPack() == nil {
		return out
	}
	stderr, err := r.stderr(ctx, job, u, open)
	if err != nil {
		out.Missing = fmt.Sprintf("What it wrote is not shown: %v. gridctl logs %s %d", err, job.Short(), out.Unit)
	}
	out.Stderr = stderr
	return out
}

func (r *reader) stderr(ctx context.Context, job jobs.JobID, u *gridv1.FailedUnit, open *openPack) (string, error) {
	digest, err := jobs.DigestFromBytes(u.GetOutcome())
	if err != nil {
		return "", err
	}
	blob, err := record.BlobFromProto(u.GetPack())
	if err != nil {
		return "", err
	}
	author, err := jobs.KeyIDFromBytes(u.GetAuthor())
	if err != nil {
		return "", err
	}
	if open.pack == nil || open.blob != blob {
		data, err := r.read(ctx, job, blob, maxPack, author)
		if err != nil {
			return "", err
		}
		if open.pack, err = record.DecodePack(data); err != nil {
			return "", err
		}
		open.blob = blob
	}
	outcome, err := open.pack.Outcome(u.GetUnit(), digest)
	if err != nil {
		return "", err
	}
	text := outcome.Stderr
	if len(text) > maxStderr {
		return strings.ToValidUTF8(string(text[:maxStderr]), "") + "\n…", nil
	}
	return strings.ToValidUTF8(string(text), "?"), nil
}

// read fetches a blob of a job. Its errors name no agent: readers of the page are not told who lends a machine.
func (r *reader) read(ctx context.Context, job jobs.JobID, b jobs.Blob, most int64, known ...jobs.AgentID) ([]byte, error) {
	if b.Size > most {
		return nil, jobs.Errorf(jobs.Exhausted, "it lies in a pack of %s", program.Bytes(uint64(b.Size)))
	}
	from := peer.Sources(r.self, b.Digest, r.members(), known...)
	if err := r.client.Fetch(ctx, blobs.Claim{Job: job, Kind: blobs.Cached}, b, from); err != nil {
		return nil, jobs.Errorf(jobs.Unavailable, "no machine that has it answers")
	}
	in, size, err := r.blobs.Open(b.Digest)
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = io.ReadFull(in, data)
	return data, errors.Join(err, in.Close(), r.blobs.Delete(b.Digest))
}
