package gridtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// saves gives the checkpoints of a unit: a base that never changes, and how far the unit is.
type saves struct {
	unit    *executor.Unit
	program jobs.Digest
	number  uint64
	spoils  int
	given   int
	last    executor.Checkpoint
}

func base(program jobs.Digest, number uint64) string { return fmt.Sprintf("%s %d", program, number) }

// stateOf reads how far a unit is by a checkpoint: not at all without one.
func stateOf(c *executor.Checkpoint, program jobs.Digest, number uint64) (time.Duration, error) {
	if c == nil {
		return 0, nil
	}
	var files []string
	for _, f := range c.Files {
		data, err := os.ReadFile(f.Path)
		if err != nil {
			return 0, err
		}
		files = append(files, string(data))
	}
	if len(files) != 2 || files[0] != base(program, number) {
		return 0, &executor.ResumeError{Why: "it is of another unit"}
	}
	at, err := time.ParseDuration(files[1])
	if err != nil {
		return 0, &executor.ResumeError{Why: err.Error()}
	}
	return at, nil
}

// runFor takes the unit's time and returns how far it came.
func (s *saves) runFor(ctx context.Context, from time.Duration, res Result) (time.Duration, error) {
	begun := time.Now()
	at := func() time.Duration { return min(from+time.Since(begun), res.Takes) }
	timer := time.NewTimer(res.Takes - from)
	defer timer.Stop()
	var tick <-chan time.Time
	var now <-chan struct{}
	if res.Saves && s.unit.Save != nil {
		ticker := time.NewTicker(s.unit.Interval)
		defer ticker.Stop()
		tick, now = ticker.C, s.unit.Now
		if s.unit.Resume != nil {
			s.last.Sequence = s.unit.Resume.Sequence
		}
	}
	var meter <-chan time.Time
	if res.Blocks > 0 && s.unit.Used != nil {
		ticker := time.NewTicker(10 * time.Second)
		defer ticker.Stop()
		meter = ticker.C
	}
	for {
		var err error
		select {
		case <-timer.C:
			return res.Takes, res.Err
		case <-meter:
			s.unit.Used(min(time.Since(begun), res.Blocks))
		case <-ctx.Done():
			return at(), context.Cause(ctx)
		case <-tick:
			err = s.save(at())
		case <-now:
			err = s.save(at())
		}
		if err != nil {
			return at(), err
		}
	}
}

func (s *saves) save(at time.Duration) error {
	s.given++
	state := at.String()
	if s.spoils > 0 && s.given >= s.spoils {
		state = "garbage"
	}
	c := executor.Checkpoint{Sequence: s.last.Sequence + 1, CPU: at}
	if s.unit.Progress != nil {
		s.unit.Progress(float64(s.given) / 100)
	}
	if c.Files = s.last.Files[:min(1, len(s.last.Files))]; len(c.Files) == 0 {
		f, err := s.write("base", base(s.program, s.number))
		if err != nil {
			return err
		}
		c.Files = append(c.Files, f)
	}
	f, err := s.write("state", state)
	if err != nil {
		return err
	}
	c.Files = append(c.Files[:1:1], f)
	s.last = c
	s.unit.Save(c)
	return nil
}

// write makes a file of its own in the folder that the worker gave.
func (s *saves) write(name, text string) (executor.CheckpointFile, error) {
	blob := jobs.Blob{Digest: jobs.DigestOf([]byte(text)), Size: int64(len(text))}
	path := filepath.Join(s.unit.Folder, fmt.Sprintf("%s-%d-%d-%d", name, s.number, s.last.Sequence, time.Now().UnixNano()))
	return executor.CheckpointFile{Blob: blob, Path: path}, os.WriteFile(path, []byte(text), 0o600)
}
