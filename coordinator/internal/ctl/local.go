package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"idlegrid/agent/executor"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

// localJob is a job that is run on this machine alone.
type localJob struct {
	manifest *manifest.Manifest
	identity jobs.Digest // of all that an outcome depends on
	program  executor.Program
	combine  executor.Program // without inputs; of no use if nothing is to be combined
}

func newLocalJob(build *manifest.Build) (*localJob, error) {
	m := build.Manifest
	identity, err := m.Identity()
	if err != nil {
		return nil, err
	}
	source := make(map[jobs.Digest]string)
	for _, f := range build.Files {
		if source[f.Blob.Digest], err = filepath.Abs(f.Path); err != nil {
			return nil, fmt.Errorf("find %s: %w", f.Path, err)
		}
	}
	j := &localJob{manifest: m, identity: identity, program: executor.Program{
		Path: source[m.Program.Digest], Digest: m.Program.Digest, Memory: m.Memory,
	}}
	if !m.Stdin.IsZero() {
		j.program.Stdin = source[m.Stdin.Digest]
	}
	for _, in := range build.Inputs {
		j.program.Inputs = append(j.program.Inputs,
			executor.File{Path: in.Path, Source: source[in.Blob.Digest], Size: in.Blob.Size})
	}
	if c := m.Combine; c != nil {
		// A unit's limit of memory is none of one that sees the results of all.
		j.combine = executor.Program{Path: source[c.Program.Digest], Digest: c.Program.Digest, Memory: manifest.MaxMemory}
	}
	return j, nil
}

// unit returns what the executor is told of a unit: the same as an agent's would be.
func (j *localJob) unit(n uint64) *executor.Unit {
	args, env := j.manifest.Command(n)
	return &executor.Unit{
		Args: args, Env: env, Timeout: j.manifest.Timeout, Succeeded: j.manifest.Succeeded,
		Seed: manifest.Seed(j.identity, n),
	}
}

// try runs a unit once.
func (j *localJob) try(ctx context.Context, pool results.Pool, n uint64) (*results.Result, error) {
	ran, err := pool.Run(ctx, &j.program, j.unit(n))
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // An interrupt may have hit the executor first, which then looks like a crash.
	}
	if err != nil {
		return nil, fmt.Errorf("run unit %d: %w", n, err)
	}
	r := &results.Result{
		Status: ledger.Accepted, Outcome: ran.Outcome, Failure: ran.Failure, Times: ran.Times,
		Runtime: executor.Runtime(), Platform: platform(),
	}
	if r.Failure.Failed() {
		r.Status = ledger.Failed
	}
	return r, nil
}

// retry runs a unit as often as the manifest allows, until it succeeds.
func (j *localJob) retry(ctx context.Context, pool results.Pool, n uint64) (*results.Result, error) {
	for attempt := uint32(0); ; attempt++ {
		r, err := j.try(ctx, pool, n)
		if err != nil {
			return nil, err
		}
		r.Attempt = attempt
		if !r.Failure.Failed() || attempt >= j.manifest.Retries {
			return r, nil
		}
	}
}

// localRun is one go at a job's units.
type localRun struct {
	*localJob
	pool   results.Pool
	folder *results.Folder
	cores  int
	show   *progress

	mu           sync.Mutex // guards everything below
	done, failed uint64
}

// units runs those that are not in the folder yet.
func (r *localRun) units(ctx context.Context, todo []uint64) error {
	r.done = r.manifest.Units - uint64(len(todo))
	r.show.Update(r.done, 0, r.manifest.Units, r.cores)
	if len(todo) == 0 {
		return nil
	}
	if err := r.pool.Prepare(ctx, &r.program); err != nil {
		return err
	}
	var next atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	for range min(r.cores, len(todo)) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < uint64(len(todo)); i = next.Add(1) - 1 {
				if err := r.unit(ctx, todo[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// missing notes the units that are there already and returns the others.
func missing(folder *results.Folder, units uint64) []uint64 {
	var todo []uint64
	for n := range units {
		digest, ok := folder.Verified(n)
		if !ok {
			todo = append(todo, n)
			continue
		}
		folder.Note(results.Row{Unit: n, Status: ledger.Accepted, Digest: digest})
	}
	return todo
}

func (r *localRun) unit(ctx context.Context, n uint64) error {
	result, err := r.retry(ctx, r.pool, n)
	if err != nil {
		return err
	}
	if err := r.folder.Put(n, result); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if result.Failure.Failed() {
		r.failed++
	}
	r.show.Update(r.done, r.failed, r.manifest.Units, r.cores)
	return nil
}

// newPool returns executors, and the function that ends them.
func newPool(slots int) (*executor.Pool, func() error, error) {
	dir, cleanup, err := compiledDir()
	if err != nil {
		return nil, nil, err
	}
	pool := executor.NewPool(executor.Options{Slots: slots, Cache: dir})
	return pool, func() error {
		pool.Close()
		return cleanup()
	}, nil
}

// compiledDir returns a folder for compiled programs: the user's cache or, where there is none, such as for
// a build server's user without a home, one for this time only.
func compiledDir() (dir string, cleanup func() error, err error) {
	base, err := os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(base, "idlegrid", "compiled")
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		return dir, func() error { return nil }, nil
	}
	temp, tempErr := os.MkdirTemp("", "gridctl-compiled-")
	if tempErr != nil {
		return "", nil, fmt.Errorf("make a folder for compiled programs: %w", errors.Join(err, tempErr))
	}
	return temp, func() error { return os.RemoveAll(temp) }, nil
}

// platform returns what this machine is, as reports name it.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
