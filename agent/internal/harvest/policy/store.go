package policy

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"idlegrid/jobs"
)

// Store has the policy that counts and notices when a file changes.
type Store struct {
	paths Paths

	writing sync.Mutex // held while the owner's layer is changed

	mu    sync.Mutex // guards everything below
	stamp string
	good  *Policy
	err   error
}

// Open reads the policy of these paths. A bad file is no error here: Policy tells.
func Open(p Paths) *Store {
	s := &Store{paths: p}
	s.Refresh()
	return s
}

// Policy returns the last policy that was good, nil where none ever was, and what is wrong with the newest.
func (s *Store) Policy() (*Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.good, s.err
}

// Refresh reads the files again if one of them has another size or time than before, and reports whether it did.
func (s *Store) Refresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The stamp is taken before the files are read: a file that changes in between is read again.
	stamp := s.paths.stamp()
	if stamp == s.stamp {
		return false
	}
	s.read(stamp)
	return true
}

// SetOwner changes the owner's layer in the state folder, like the function of that name, and reads the policy again. A key
// that is locked may be taken out and not set: the error is of kind jobs.Denied and says who locks it.
func (s *Store) SetOwner(state *os.Root, key string, value *string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if p, _ := s.Policy(); p != nil && value != nil { // what is wrong with a newer policy is told elsewhere
		if had, _ := p.Setting(key); had.Lock != "" {
			return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s: %s locks it", key, had.Lock), "it is %s; ask who runs the grid here", had.Value)
		}
	}
	if err := SetOwner(state, key, value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Whatever the times of the files say: two changes may come within one tick of a file system's clock.
	s.read(s.paths.stamp())
	return nil
}

// read reads the files that have this stamp. The caller holds mu.
func (s *Store) read(stamp string) {
	s.stamp = stamp
	p, err := Load(s.paths)
	if s.err = err; err == nil {
		s.good = p
	}
}

// stamp is another text when a file was changed, made or removed.
func (p Paths) stamp() string {
	var b strings.Builder
	b.WriteString("read\n")
	for _, f := range p.files() {
		fmt.Fprintf(&b, "%s %v", f.path, f.wrong)
		if info, err := os.Stat(f.path); err == nil {
			fmt.Fprintf(&b, " %d %d %s", info.ModTime().UnixNano(), info.Size(), info.Mode())
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Exclusive returns the programs during which nothing runs: those that somebody has to look for.
func (s *Store) Exclusive() []string {
	if p, _ := s.Policy(); p != nil { // What is wrong with a newer policy is told elsewhere.
		return p.Exclusive
	}
	return nil
}
