package signals

import "time"

// Waited is how long programs beside this agent and its units waited, since some beginning: the times of all groups of
// programs that the system tells apart, added up.
type Waited struct {
	Memory time.Duration // for memory, as after theirs was pushed out
	Disk   time.Duration
}

// Waited says what others waited, and whether the system tells. It reads some files a group each time.
func (w *Watcher) Waited() (Waited, bool) { return othersWaited(w.o.Root) }
