//go:build !darwin

package signals

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/shirou/gopsutil/v3/common"
	gopsutil "github.com/shirou/gopsutil/v3/cpu"
)

// busyTime returns how long the cores worked, all together. Waiting for a disk is no work; neither is what a
// hypervisor took for other machines.
func busyTime(o Options) (time.Duration, error) {
	all, err := gopsutil.TimesWithContext(under(o), false)
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 0, errors.New("the system tells no CPU times")
	}
	t := all[0]
	return time.Duration((t.User + t.Nice + t.System + t.Irq + t.Softirq) * float64(time.Second)), nil
}

// under has gopsutil read below the root of the options.
func under(o Options) context.Context {
	return context.WithValue(context.Background(), common.EnvKey, common.EnvMap{
		common.HostProcEnvKey: filepath.Join(o.Root, "proc"), common.HostSysEnvKey: filepath.Join(o.Root, "sys"),
	})
}
