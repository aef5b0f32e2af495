package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

const (
	// parallelPacks is how many packs are fetched at the same time.
	parallelPacks = 4
	// maxSources bounds the agents that are asked for one blob.
	maxSources = 64
	// packMemory bounds the packs in memory, in bytes. One that is larger is read while no other is.
	packMemory = 256 << 20
	// maxPack bounds a pack, in bytes. Agents make them of 8 MiB, or with one outcome that is larger.
	maxPack = 2 * record.MaxOutcome
)

// fetcher fetches the packs of a job and writes the outcomes in them.
type fetcher struct {
	g      *grid
	job    records.Job
	folder *results.Folder
	units  []ledger.Unit
	memory *semaphore.Weighted
}

// fetchPacks fetches the packs that hold what the folder lacks, and writes their outcomes. A unit whose
// outcome nobody gives, or that cannot be written here as it is, stays open with the reason in its row: one
// agent's fault costs no other unit. An error means that this machine cannot go on.
func (g *grid) fetchPacks(ctx context.Context, job records.Job, folder *results.Folder, units []ledger.Unit) error {
	packs := map[jobs.Blob][]uint64{}
	for i, u := range units {
		n := uint64(i)
		have, whole := folder.Verified(n)
		switch {
		case u.From.Pack.IsZero():
			row := results.Row{Unit: n, Status: u.Status}
			if u.Status == ledger.Dead {
				row.Reason = "it did not get done before the job ended"
			}
			folder.Note(row)
		case whole && have == u.Outcome && !u.Failure.Failed():
			folder.Note(results.Row{Unit: n, Status: u.Status, Digest: have})
		default:
			folder.Note(results.Row{Unit: n, Status: ledger.Open, Reason: "not fetched"})
			packs[u.From.Pack] = append(packs[u.From.Pack], n)
		}
	}
	f := &fetcher{g: g, job: job, folder: folder, units: units, memory: semaphore.NewWeighted(packMemory)}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPacks)
	for pack, wanted := range packs {
		group.Go(func() error { return f.pack(ctx, pack, wanted) })
	}
	return group.Wait()
}

// pack gets one pack and writes the wanted units of it.
func (f *fetcher) pack(ctx context.Context, blob jobs.Blob, wanted []uint64) error {
	if err := f.g.copyPack(ctx, f.job.ID, f.units[wanted[0]].From); err != nil {
		return f.skip(ctx, err, wanted)
	}
	weight := min(blob.Size, packMemory)
	if err := f.memory.Acquire(ctx, weight); err != nil {
		return err
	}
	defer f.memory.Release(weight)
	pack, err := f.g.readPack(blob)
	if err != nil {
		return f.skip(ctx, err, wanted)
	}
	for _, n := range wanted {
		if err := f.put(pack, n); err != nil {
			if err := f.skip(ctx, err, []uint64{n}); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyPack brings a report's pack here.
func (g *grid) copyPack(ctx context.Context, job jobs.JobID, report ledger.ReportRef) error {
	if size := report.Pack.Size; size < 0 || size > maxPack {
		return jobs.Errorf(jobs.Invalid, "pack of %d bytes, expected at most %d", size, maxPack)
	}
	if err := g.fetchBlob(ctx, job, report.Pack, report); err != nil {
		return fmt.Errorf("fetch its pack: %w", err)
	}
	return nil
}

// readPack opens a pack that was brought here, and removes the working copy.
func (g *grid) readPack(blob jobs.Blob) (*record.Pack, error) {
	data, err := g.readBlob(blob)
	if err != nil {
		return nil, err
	}
	return record.DecodePack(data)
}

// fetchPack is both.
func (g *grid) fetchPack(ctx context.Context, job jobs.JobID, report ledger.ReportRef) (*record.Pack, error) {
	if err := g.copyPack(ctx, job, report); err != nil {
		return nil, err
	}
	return g.readPack(report.Pack)
}

// readBlob returns a blob that was fetched, and removes the working copy.
func (g *grid) readBlob(blob jobs.Blob) ([]byte, error) {
	r, size, err := g.blobs.Open(blob.Digest)
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = io.ReadFull(r, data)
	return data, errors.Join(err, r.Close(), g.blobs.Delete(blob.Digest))
}

func (f *fetcher) put(pack *record.Pack, n uint64) error {
	u := f.units[n]
	outcome, err := pack.Outcome(n, u.Outcome)
	if err != nil {
		return fmt.Errorf("by agent %s: %w", u.From.Author.Short(), err)
	}
	return f.folder.Put(n, &results.Result{
		Status: u.Status, Outcome: outcome, Failure: u.Failure, Times: u.From.Times, Attempt: u.From.Attempt,
		Agent: u.From.Author, Runtime: u.From.Runtime, Platform: u.From.Platform,
	})
}

// skip notes why units are not written. It returns the error if it is not about them: this machine's, or that
// the work is to end.
func (f *fetcher) skip(ctx context.Context, err error, units []uint64) error {
	if ctx.Err() != nil || isOurs(err) {
		return err
	}
	for _, n := range units {
		f.folder.Note(results.Row{Unit: n, Status: ledger.Open, Reason: err.Error()})
	}
	return nil
}

// isOurs reports whether an error is this machine's, such as a full disk. Peers' errors have a kind; a name
// that the file system does not take is the fault of whoever gave it.
func isOurs(err error) bool {
	if errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EILSEQ) || errors.Is(err, syscall.EINVAL) {
		return false
	}
	kind := jobs.KindOf(err)
	return kind == jobs.Internal || kind == jobs.Exhausted
}

// fetchBlob gets a blob from whoever has it. The zero report is for blobs that are no packs.
func (g *grid) fetchBlob(ctx context.Context, job jobs.JobID, b jobs.Blob, report ledger.ReportRef) error {
	likely := append(g.receiptsOf(report.ID), report.Author)
	return g.client.Fetch(ctx, blobs.Claim{Job: job, Kind: blobs.Cached}, b, sources(b.Digest, g.members, likely))
}

// sources returns whom to ask for a blob: first the agents that placement names, then those likely to have it,
// who reported it or signed for it, and then, for the pool may have changed since, all others within a bound.
func sources(d jobs.Digest, members []peer.Member, likely []jobs.AgentID) []peer.Member {
	ranked := peer.Holders(d, members, len(members))
	n := min(2*peer.Copies, len(ranked))
	from := slices.Clone(ranked[:n])
	for _, m := range members {
		if slices.Contains(likely, m.ID) && !slices.ContainsFunc(from, func(o peer.Member) bool { return o.ID == m.ID }) {
			from = append(from, m)
		}
	}
	for _, m := range ranked[n:] {
		if len(from) >= maxSources {
			break
		}
		if !slices.Contains(likely, m.ID) {
			from = append(from, m)
		}
	}
	return from
}

// receiptsOf returns who signed for a report's pack. A report that is not kept here has no receipts.
func (g *grid) receiptsOf(report jobs.Digest) []jobs.AgentID {
	offer, err := g.store.Get(report)
	if err != nil {
		return nil
	}
	var ids []jobs.AgentID
	for _, r := range offer.Receipts {
		for _, s := range r.Signatures {
			ids = append(ids, s.Signer())
		}
	}
	return ids
}
