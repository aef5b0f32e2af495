package gridtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// saves gives the checkpoints of a unit: a base that never changes, and how far the unit is.
type saves struct {
	unit    *executor.Unit
	program jobs.Digest
	number  uint64
	run     int
	spoils  int
	given   int
	last    executor.Checkpoint
}

func base(program jobs.Digest, number uint64) string { return fmt.Sprintf("%s %d", program, number) }

// stateOf reads how far a unit is by a checkpoint, and of which run that is: not at all without one.
func stateOf(c *executor.Checkpoint, program jobs.Digest, number uint64) (at time.Duration, of int, err error) {
	if c == nil {
		return 0, 0, nil
	}
	var files []string
	for _, f := range c.Files {
		data, err := os.ReadFile(f.Path)
		if err != nil {
			return 0, 0, err
		}
		files = append(files, string(data))
	}
	if len(files) != 2 || files[0] != base(program, number) {
		return 0, 0, &executor.ResumeError{Why: "it is of another unit"}
	}
	state, run, _ := strings.Cut(files[1], " of run ")
	at, err = time.ParseDuration(state)
	if err == nil {
		of, err = strconv.Atoi(run)
	}
	if err != nil {
		return 0, 0, &executor.ResumeError{Why: err.Error()}
	}
	return at, of, nil
}

// meterEvery is how often somebody says what CPU time a unit has taken.
const meterEvery = 10 * time.Second

// runFor takes the unit's time, in which it goes on, and returns how far it came.
func (s *saves) runFor(ctx context.Context, p *pace, from time.Duration, res Result) (time.Duration, error) {
	at := func() time.Duration {
		far, _ := p.so()
		return min(from+far, res.Takes)
	}
	saved, metered := time.Duration(0), time.Duration(0) // how far it was then
	saves, meters := res.Saves && s.unit.Save != nil, res.Blocks > 0 && s.unit.Used != nil
	if saves && s.unit.Resume != nil {
		s.last.Sequence = s.unit.Resume.Sequence
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		far, going := p.so()
		if going && from+far >= res.Takes {
			return res.Takes, res.Err
		}
		next := res.Takes - from - far
		var now <-chan struct{}
		if saves {
			now, next = s.unit.Now, min(next, saved+s.unit.Interval-far)
		}
		if meters {
			next = min(next, metered+meterEvery-far)
		}
		if timer.Reset(next); !going {
			timer.Stop()
			now = nil // who asks for one gets it when it goes on
		}
		asked := false
		select {
		case <-timer.C:
		case <-p.changed:
			continue
		case <-ctx.Done():
			return at(), context.Cause(ctx)
		case <-now:
			asked = true
		}
		if far, going = p.so(); !going {
			continue
		}
		if meters && far >= metered+meterEvery {
			metered = far
			s.unit.Used(min(far, res.Blocks))
		}
		if due := saves && far >= saved+s.unit.Interval && from+far < res.Takes; due || asked {
			if due {
				saved = far
			}
			if err := s.save(from + far); err != nil {
				return at(), err
			}
		}
	}
}

func (s *saves) save(at time.Duration) error {
	s.given++
	state := fmt.Sprintf("%s of run %d", at, s.run)
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
