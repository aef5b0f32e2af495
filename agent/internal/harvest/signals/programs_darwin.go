package signals

import (
	"context"

	gopsutil "github.com/shirou/gopsutil/v4/process"
)

// processNames returns the plain names of all processes that may be looked at.
func processNames(Options) (map[string]bool, error) {
	ctx := context.Background()
	all, err := gopsutil.PidsWithContext(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(all))
	for _, pid := range all {
		p := gopsutil.Process{Pid: pid}                      // NewProcess would read far more
		if name, err := p.NameWithContext(ctx); err == nil { // else it has ended
			names[plain(name)] = true
		}
	}
	return names, nil
}
