package signals

import (
	"testing"
	"time"
)

func TestOthersWaited(t *testing.T) {
	const (
		mounts = "29 23 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
		top    = "sys/fs/cgroup/"
	)
	// group says what a cgroup waited, in microseconds.
	group := func(files map[string]string, name, memory, disk string) {
		const text = " avg10=0.00 avg60=0.00 avg300=0.00 total="
		files[top+name+"/memory.pressure"] = "some" + text + memory + "\nfull" + text + "0\n"
		files[top+name+"/io.pressure"] = "some" + text + disk + "\nfull" + text + "0\n"
	}
	service := map[string]string{"proc/self/mountinfo": mounts, "proc/self/cgroup": "0::/system.slice/grid.service/agent\n"}
	group(service, "user.slice", "1", "10")
	group(service, "user.slice/user-1000.slice", "1", "10") // is in the one above
	group(service, "system.slice", "7777", "7777")
	group(service, "system.slice/cups.service", "2", "20")
	group(service, "system.slice/grid.service", "7777", "7777")
	group(service, "system.slice/grid.service/agent", "7777", "7777")
	group(service, "system.slice/grid.service/units", "7777", "7777")
	group(service, "system.slice/bad.service", "-4", "40")
	service[top+"system.slice/old.service/memory.pressure"] = "some" // and no disk

	alone := map[string]string{"proc/self/mountinfo": mounts, "proc/self/cgroup": "0::/\n"}
	group(alone, "units", "1", "1")
	for name, c := range map[string]struct {
		files map[string]string
		want  Waited
		known bool
	}{
		"a service":         {service, Waited{Memory: 3 * time.Microsecond, Disk: 30 * time.Microsecond}, true},
		"nothing beside":    {alone, Waited{}, false},
		"no cgroup v2":      {map[string]string{"proc/self/mountinfo": "", "proc/self/cgroup": "1:cpu:/\n"}, Waited{}, false},
		"no such files":     {nil, Waited{}, false},
		"kernel without it": {map[string]string{"proc/self/mountinfo": mounts, "proc/self/cgroup": "0::/a\n", top + "b/cgroup.procs": "1\n"}, Waited{}, false},
	} {
		w := New(Options{Root: tree(t, c.files), Log: quiet()})
		if got, known := w.Waited(); got != c.want || known != c.known {
			t.Errorf("%s: %+v, %t, expected %+v, %t", name, got, known, c.want, c.known)
		}
	}
}

// BenchmarkWaited reads this machine's own files.
func BenchmarkWaited(b *testing.B) {
	if _, known := othersWaited("/"); !known {
		b.Skip("this system does not tell what others wait for")
	}
	for b.Loop() {
		othersWaited("/")
	}
}
