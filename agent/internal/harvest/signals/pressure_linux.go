package signals

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxFile bounds what is read of a file of the kernel's.
const maxFile = 64 << 10

// pressure is how long somebody waited for something.
type pressure struct {
	share float64       // of the last ten seconds, 0 to 1
	total time.Duration // since the machine started
}

// pressureOf reads one of the kernel's pressure files: see Documentation/accounting/psi.rst of Linux. Older and some
// other kernels have none.
func pressureOf(root, what string) (pressure, bool) {
	return pressureIn(filepath.Join(root, "proc/pressure", what))
}

// pressureIn reads a file of this form: each cgroup has some, too.
func pressureIn(file string) (pressure, bool) {
	content, err := readFile(file)
	if err != nil {
		return pressure{}, false
	}
	return parsePressure(content)
}

// parsePressure reads the line of what some programs waited for.
func parsePressure(content []byte) (p pressure, ok bool) {
	for line := range bytes.Lines(content) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		found := 0
		for _, field := range fields[1:] {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "avg10":
				percent, err := strconv.ParseFloat(value, 64)
				if err != nil || !(percent >= 0 && percent <= 100) {
					return pressure{}, false
				}
				p.share = percent / 100
				found++
			case "total":
				micros, err := strconv.ParseInt(value, 10, 64)
				if err != nil || micros < 0 || micros > int64(longest/time.Microsecond) {
					return pressure{}, false
				}
				p.total = time.Duration(micros) * time.Microsecond
				found++
			}
		}
		if found != 2 {
			return pressure{}, false
		}
		return p, true
	}
	return pressure{}, false
}

// readFile reads a small file of the kernel's.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readWord reads a file that has one word.
func readWord(path string) (string, error) {
	content, err := readFile(path)
	return strings.TrimSpace(string(content)), err
}

// readNumber reads a file that has one number.
func readNumber(path string) (float64, error) {
	word, err := readWord(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(word, 64)
}
