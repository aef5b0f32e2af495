package executor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"idlegrid/agent/executor/internal/child"
	"idlegrid/agent/executor/internal/snapshot"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Checkpoint is a unit's state at some moment, from which it can go on in another process, on any machine with the
// same Runtime.
type Checkpoint struct {
	Sequence uint64        // grows with each of a unit, over all its runs
	CPU      time.Duration // that the unit had taken until then, in all its runs
	Files    []CheckpointFile
}

// CheckpointFile is a part of a checkpoint: the first is a whole state, and a second one what changed since. Each
// lies in Unit.Folder under a name of its own and is the caller's, with one exception: the whole state of an earlier
// checkpoint is named again by those that say what changed since, wherever the caller has put it, and that of
// Unit.Resume by the first ones of the run.
type CheckpointFile struct {
	Blob jobs.Blob
	Path string // of a file with exactly the blob's bytes
}

// ResumeError says that a unit cannot go on from its checkpoint, which is broken, or of another unit, program or
// version of this program. The unit did not run.
type ResumeError struct{ Why string }

// Error says so.
func (e *ResumeError) Error() string { return "go on from a checkpoint: " + e.Why }

// saver takes the checkpoints of one unit. The child is not trusted: the guest may have broken out into it.
type saver struct {
	unit     *Unit
	log      *slog.Logger
	most     int64 // bytes of a file
	sequence uint64
	base     *CheckpointFile // nil: the child has to give a whole state
	asked    atomic.Bool     // a request was sent and not answered
	answered chan bool       // whether there is a base, after each answer
	refused  bool            // since it was asked, the child has said why there is none
	file     *writtenFile    // nil: none is under way
}

// writtenFile is a file of a checkpoint while it is written. After an error the rest is only counted.
type writtenFile struct {
	*os.File
	whole bool
	size  int64
	sum   hash.Hash
	err   error
}

func newSaver(u *Unit, prog *Program, log *slog.Logger) *saver {
	l := prog.Limits.withDefaults()
	content := int64(prog.Memory) + l.Stdout + l.Stderr + int64(len(child.CutMark(l.Stderr))) + l.OutBytes
	pages := content/snapshot.Page + 3 + l.OutFiles // each section's last page may be short
	s := &saver{
		unit: u, log: log, answered: make(chan bool, 1),
		most: content + int64(snapshot.Overhead+snapshot.MaxState) + pages*snapshot.PageOverhead,
	}
	if u.Resume != nil {
		s.sequence = u.Resume.Sequence
		if len(u.Resume.Files) > 0 {
			s.base = &u.Resume.Files[0]
		}
	}
	return s
}

// ask asks the child for checkpoints, one at a time, until the returned function is called. One that is frozen gives
// none before it goes on.
func (s *saver) ask(p *process) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	whole := s.base == nil
	go func() {
		defer close(ended)
		var timer chan struct{}
		stop := func() bool { return true }
		defer func() { stop() }()
		now, again, waiting := s.unit.Now, false, false
		for {
			if again && !waiting {
				stop()
				again, waiting, timer = false, true, nil
				s.asked.Store(true)
				save := &gridv1.ExecutorRequest_Save{Save: &gridv1.ExecutorSave{Whole: whole}}
				if p.out.Send(&gridv1.ExecutorRequest{Request: save}) != nil {
					return // the child is gone, as the reader of its replies will see
				}
			}
			if timer == nil && !waiting && s.unit.Interval > 0 {
				due := make(chan struct{})
				timer, stop = due, p.after(s.unit.Interval, func() { close(due) })
			}
			select {
			case <-timer:
				again = true
			case _, open := <-now:
				again = true // also while one is being made: it may be of a moment before
				if !open {
					now = nil
				}
			case based := <-s.answered:
				waiting, whole = false, !based
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// take takes a piece of a checkpoint. Its error is one of the child.
func (s *saver) take(c *gridv1.ExecutorCheckpoint) error {
	if !s.asked.Load() {
		return fmt.Errorf("%w: a checkpoint that nobody asked for", errProtocol)
	}
	if why := c.GetRefused(); why != "" {
		if !s.refused {
			s.refused = true
			s.log.Warn("no checkpoint now", slog.String("why", child.Text(why)))
		}
		if c.GetLast() {
			s.answer()
		}
		return nil
	}
	if s.file == nil {
		if !c.GetWhole() && s.base == nil {
			return fmt.Errorf("%w: changes of nothing", errProtocol)
		}
		s.file = createFile(s.unit.Folder, c.GetWhole())
	}
	s.file.write(c.GetData())
	if s.file.size > s.most {
		return fmt.Errorf("%w: a checkpoint of more than %d bytes", errProtocol, s.most)
	}
	if c.GetLast() {
		s.finish(micros(c.GetCpuUs()))
	}
	return nil
}

// finish hands the checkpoint out that was just written.
func (s *saver) finish(cpu time.Duration) {
	f := s.file
	s.file = nil
	defer s.answer()
	if err := f.end(); err != nil {
		// That is no fault of the unit. The next one is of the whole state if this one was.
		s.log.Warn("write a checkpoint", slog.Any("error", err))
		if f.whole {
			s.base = nil
		}
		return
	}
	file := CheckpointFile{Blob: jobs.Blob{Digest: jobs.Digest(f.sum.Sum(nil)), Size: f.size}, Path: f.Name()}
	s.sequence++
	c := Checkpoint{Sequence: s.sequence, CPU: cpu}
	if s.unit.Resume != nil {
		c.CPU += s.unit.Resume.CPU
	}
	if f.whole {
		s.base = &file
		c.Files = []CheckpointFile{file}
	} else {
		c.Files = []CheckpointFile{*s.base, file}
	}
	s.unit.Save(c)
}

func (s *saver) answer() {
	s.refused = false
	s.asked.Store(false)
	s.answered <- s.base != nil
}

// close removes a file that the child did not come to the end of.
func (s *saver) close() {
	if s.file != nil {
		s.file.fail(errors.New("it ends in the middle"))
		s.log.Info("write a checkpoint", slog.Any("error", s.file.end()))
	}
}

func createFile(folder string, whole bool) *writtenFile {
	f, err := os.CreateTemp(folder, "checkpoint-*")
	return &writtenFile{File: f, whole: whole, sum: sha256.New(), err: err}
}

func (f *writtenFile) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *writtenFile) write(b []byte) {
	f.size += int64(len(b))
	if f.err == nil {
		f.sum.Write(b)
		_, f.err = f.Write(b)
	}
}

// end closes the file, and removes it if anything went wrong. A checkpoint is not synced: who keeps it does.
func (f *writtenFile) end() error {
	if f.File == nil {
		return f.err
	}
	f.fail(f.Close())
	if f.err != nil {
		return errors.Join(f.err, os.Remove(f.Name()))
	}
	return nil
}
