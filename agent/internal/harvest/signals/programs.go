package signals

import (
	"strings"
	"time"
)

// programs looks for programs by name.
type programs struct{ o Options }

func newPrograms(o Options) *programs { return &programs{o} }

// read looks at processes only where somebody asks for programs.
func (p *programs) read(now time.Time) (Reading[[]string], error) {
	wanted := p.o.Programs()
	if len(wanted) == 0 {
		return Reading[[]string]{At: now}, nil
	}
	running, err := processNames(p.o)
	if err != nil {
		return Reading[[]string]{}, err
	}
	return Reading[[]string]{At: now, Value: matching(wanted, running)}, nil
}

// matching returns those of the wanted names that run. Case does not matter, nor the ending .exe.
func matching(wanted []string, running map[string]bool) []string {
	var found []string
	for _, name := range wanted {
		if running[plain(name)] {
			found = append(found, name)
		}
	}
	return found
}

func plain(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".exe") }
