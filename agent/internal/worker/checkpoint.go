package worker

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// worthSaving is how long units must be for checkpoints to be made of them, and how much work is worth a last one
	// when the agent stops. Shorter ones never touch any of this.
	worthSaving = 10 * time.Second
	// placeTimeout bounds the way of a checkpoint to its holders, and resumeTimeout the way back.
	placeTimeout  = 2 * time.Minute
	resumeTimeout = 5 * time.Minute
	// generations is how many checkpoints of a unit are kept.
	generations = 2
)

// errBroken is why a checkpoint is passed over that others cannot have made.
var errBroken = errors.New("it is none for this unit here")

// saver takes the checkpoints of one run of a unit: each goes into the local store, to its holders, and is noted on
// disk. While one is on its way only the newest of those that follow is kept, so that a slow network makes checkpoints
// seldom and not late.
type saver struct {
	w       *Worker
	unit    jobs.UnitID
	shard   jobs.ShardID
	bundle  *bundle
	every   time.Duration
	now     chan struct{}   // asks for a checkpoint at once
	from    []*records.Note // what the unit may go on from, the best first, not verified
	over    bool            // the unit ended: what still comes of it is of no use; the worker's goroutine's own
	owes    time.Duration   // what the run used that ended, while a checkpoint was on its way; the worker's goroutine's own
	lineage record.Lineage  // from where it went on, set before it runs
	past    uint64          // a sequence that is past all that were seen of the unit
	shift   uint64          // what is added to the Runner's sequences, set before it runs
	begun   time.Time
	said    atomic.Uint64 // the fraction that the program says it has done, as bits; NaN: nothing
	resumed atomic.Bool
	// fetching says that a checkpoint is on its way here, and nothing runs yet.
	fetching atomic.Bool

	mu      sync.Mutex                // guards everything below
	busy    bool                      // one is on its way
	storing []executor.CheckpointFile // its files
	left    executor.Checkpoint       // a whole state that could not be stored: later ones name it again
	ended   bool                      // nothing more comes
	next    *executor.Checkpoint      // waits for that
	notes   []*records.Note           // own ones of the unit, newest first
	taken   int                       // checkpoints that came of this run and are kept, or cannot be
	at      time.Time                 // when the newest of these came
}

// saver returns what takes the checkpoints of a unit that is about to run, and nil for units of which none are made.
func (w *Worker) saver(tasks []task, p *program, now time.Time) *saver {
	t := tasks[0]
	sh := t.bundle.shard
	every := sh.job.Manifest.CheckpointEvery()
	if every == 0 || w.o.Scratch == "" || len(tasks) > 1 || p.unit > 0 && p.unit < min(every, worthSaving) {
		return nil
	}
	sv := &saver{
		w: w, unit: jobs.UnitID{Job: sh.id.Job, Unit: t.unit}, shard: sh.id, bundle: t.bundle, every: every,
		now: make(chan struct{}, 1), from: slices.Clone(sh.hints[t.unit]), begun: now,
	}
	sv.said.Store(math.Float64bits(math.NaN()))
	if o := w.own[sv.unit]; o != nil {
		sv.notes = slices.Clone(o.notes)
		sv.from = append(sv.from, o.notes...)
	}
	for _, n := range sv.from {
		sv.past = max(sv.past, n.Sequence)
	}
	sv.from = slices.DeleteFunc(sv.from, func(n *records.Note) bool {
		return n.Attempt != t.bundle.attempt || n.Runtime != w.o.Runtime
	})
	slices.SortFunc(sv.from, (*records.Note).Newer)
	sv.from = slices.CompactFunc(sv.from, (*records.Note).Same)
	if o := w.own[sv.unit]; o != nil && len(sv.from) > 0 {
		o.behind = !slices.ContainsFunc(o.notes, sv.from[0].Same)
	}
	return sv
}

// run runs a unit from the newest checkpoint that is good, else from its beginning.
func (sv *saver) run(ctx context.Context, ready *executor.Program, u *executor.Unit) (executor.Result, error) {
	w := sv.w
	u.Save, u.Interval, u.Now, u.Folder, u.Progress = sv.save, sv.every, sv.now, w.o.Scratch, sv.progress
	for _, n := range sv.from {
		sv.fetching.Store(true)
		c, err := sv.fetch(ctx, n)
		sv.fetching.Store(false)
		if err == nil {
			c.Sequence = sv.past
			u.Resume, sv.lineage = c, n.Lineage.After(n.Author, n.CPU)
			sv.resumed.Store(true)
			w.log.Info("a unit goes on from a checkpoint", "unit", sv.unit, "cpu", n.CPU, "sequence", n.Sequence, "author", n.Author)
			var bad *executor.ResumeError
			var result executor.Result
			if result, err = w.o.Runner.Run(ctx, ready, u); !errors.As(err, &bad) {
				return result, err
			}
		}
		if ctx.Err() != nil {
			return executor.Result{}, context.Cause(ctx)
		}
		w.log.Warn("a unit cannot go on from a checkpoint, trying the one before", "unit", sv.unit, "sequence", n.Sequence,
			"author", n.Author, "err", err)
	}
	u.Resume, sv.lineage, sv.shift = nil, nil, sv.past
	sv.resumed.Store(false)
	return w.o.Runner.Run(ctx, ready, u)
}

// fetch verifies a note and brings its parts here.
func (sv *saver) fetch(ctx context.Context, n *records.Note) (*executor.Checkpoint, error) {
	w := sv.w
	if n.UnitID() != sv.unit || n.Bytes() > 2*record.MaxCheckpointBytes {
		return nil, errBroken
	}
	if err := w.o.Store.VerifyNote(n, time.Now()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	c := &executor.Checkpoint{CPU: n.CPU}
	for _, b := range n.Parts {
		path, err := w.bring(ctx, sv.bundle.shard.job, sv.claim(), b, append(slices.Clone(n.Holders), n.Author)...)
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, executor.CheckpointFile{Blob: b, Path: path})
	}
	return c, nil
}

func (sv *saver) claim() blobs.Claim {
	return blobs.Claim{Job: sv.unit.Job, Kind: blobs.Checkpoint, Author: sv.w.o.Self, Unit: sv.unit.Unit}
}

func (sv *saver) progress(fraction float64) { sv.said.Store(math.Float64bits(fraction)) }

// save takes a checkpoint from the Runner.
func (sv *saver) save(c executor.Checkpoint) {
	c.Sequence += sv.shift
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.busy {
		if sv.next != nil {
			sv.remove(sv.next, slices.Concat(c.Files, sv.storing, sv.left.Files))
		}
		sv.next = &c
		return
	}
	sv.busy, sv.storing = true, c.Files
	sv.w.spawn(func() event { return sv.keep(c) })
}

// keep stores a checkpoint and all that came meanwhile.
func (sv *saver) keep(c executor.Checkpoint) event {
	for {
		note, err := sv.store(c)
		if err != nil {
			sv.w.log.Info("a checkpoint is not kept", "unit", sv.unit, "sequence", c.Sequence, "err", err)
		}
		sv.mu.Lock()
		left := sv.left
		if sv.left = (executor.Checkpoint{}); err != nil {
			sv.left.Files = c.Files[:1]
		}
		sv.remove(&c, sv.left.Files)
		sv.remove(&left, sv.left.Files)
		if sv.taken++; note != nil {
			sv.notes = append([]*records.Note{note}, sv.notes[:min(len(sv.notes), generations-1)]...)
			sv.at = time.Now()
		}
		notes := slices.Clone(sv.notes)
		next := sv.next
		if sv.next, sv.busy = nil, next != nil; next != nil {
			sv.storing = next.Files
		} else if sv.ended {
			sv.remove(&sv.left, nil)
		}
		sv.mu.Unlock()
		if next == nil {
			return func(time.Time) { sv.w.noted(sv, notes) }
		}
		c = *next
	}
}

// store puts a checkpoint into the local store and to its holders, and its note on disk. Without holders the note is of
// use as long as this agent is there.
func (sv *saver) store(c executor.Checkpoint) (*records.Note, error) {
	w := sv.w
	ctx, cancel := context.WithTimeout(w.saving, placeTimeout)
	defer cancel()
	said := &record.Checkpoint{
		Job: sv.unit.Job, Unit: sv.unit.Unit, Attempt: sv.bundle.attempt, Sequence: c.Sequence, CPU: c.CPU, Runtime: w.o.Runtime,
		Lineage: sv.lineage,
	}
	fresh := int64(0)
	for _, f := range c.Files {
		is, err := sv.put(f)
		if err != nil {
			return nil, err
		}
		if is {
			fresh += f.Blob.Size
		}
		said.Parts = append(said.Parts, f.Blob)
	}
	w.moved(sv.bundle.shard.job, 0, fresh)
	sv.mu.Lock()
	notes := sv.notes[:min(len(sv.notes), generations-1)]
	sv.mu.Unlock()
	parts := blobs.Parts{Unit: sv.unit, Blobs: said.Parts}
	for _, n := range notes {
		for _, b := range n.Parts {
			parts.Keep = append(parts.Keep, b.Digest)
		}
		parts.Receipts = append(parts.Receipts, n.Receipts()...)
	}
	receipts, err := w.o.Blobs.PlaceCheckpoint(ctx, parts, w.o.Members())
	if err != nil {
		w.log.Info("a checkpoint has no holders but this agent", "unit", sv.unit, "err", err)
	}
	note, err := records.NewNote(said, receipts, w.o.Key, w.o.Chain())
	if err != nil {
		return nil, err
	}
	return note, w.o.Store.SaveNotes(sv.unit, append([]*records.Note{note}, notes...)...)
}

// put brings a part into the local store, and reports whether it is new. The base of an earlier checkpoint is there.
func (sv *saver) put(part executor.CheckpointFile) (fresh bool, err error) {
	err = sv.w.o.Dir.Keep(sv.claim(), part.Blob)
	if jobs.KindOf(err) != jobs.NotFound {
		return false, err
	}
	f, err := os.Open(part.Path)
	if err != nil {
		return false, err
	}
	defer f.Close() // Nothing is written.
	return true, sv.w.o.Dir.Put(sv.claim(), part.Blob, f)
}

// remove removes the files of a checkpoint from the Runner's folder, but those that another one names.
func (sv *saver) remove(c *executor.Checkpoint, but []executor.CheckpointFile) {
	for _, f := range c.Files {
		if filepath.Dir(f.Path) != filepath.Clean(sv.w.o.Scratch) || slices.Contains(but, f) {
			continue
		}
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			sv.w.log.Warn("cannot remove a checkpoint's file", "err", err)
		}
	}
}

// end says that the run is over: nothing of it stays in the Runner's folder.
func (sv *saver) end() {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.ended = true; !sv.busy {
		sv.remove(&sv.left, nil)
	}
}

// last returns the newest checkpoint of this agent's own, when it came, and how many this run has given.
func (sv *saver) last() (n *records.Note, at time.Time, taken int) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if len(sv.notes) > 0 {
		n = sv.notes[0]
	}
	return n, sv.at, sv.taken
}

// storingNow reports whether a checkpoint is on its way.
func (sv *saver) storingNow() bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	return sv.busy
}

// describe adds what is known of a running unit's progress.
func (sv *saver) describe(u *Running) {
	if done := math.Float64frombits(sv.said.Load()); done >= 0 { // NaN is not
		u.Done = &done
	}
	n, at, _ := sv.last()
	if u.Saved = at; !at.IsZero() {
		u.SavedBytes = n.Bytes()
	}
	u.Resumed = sv.resumed.Load()
}
