package results

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"idlegrid/jobs"
)

// unitFolder returns the folder of a unit, relative to DIR.
func (f *Folder) unitFolder(unit uint64) string {
	digits := max(unitDigits, len(strconv.FormatUint(f.job.Units-1, 10)))
	return path.Join(unitsFolder, fmt.Sprintf("%0*d", digits, unit))
}

// isUnit reports whether name is what unitFolder calls one of the job's units.
func (f *Folder) isUnit(name string) bool {
	unit, err := strconv.ParseUint(name, 10, 64)
	return err == nil && unit < f.job.Units && f.unitFolder(unit) == path.Join(unitsFolder, name)
}

func isNumber(name string) bool {
	return name != "" && strings.Trim(name, "0123456789") == ""
}

// checkName returns an error for a file of an outcome that this system would not store under its name. The
// path has already passed record.CheckPath.
func checkName(name string, windows bool) error {
	if !windows {
		return nil // Whatever record.CheckPath lets through is one file elsewhere.
	}
	for segment := range strings.SplitSeq(name, "/") {
		if !windowsName(segment) {
			return jobs.WithHint(jobs.Errorf(jobs.Unsupported, "Windows cannot have a file %.80q", name),
				"let the program name it otherwise, or work on another system")
		}
	}
	return nil
}

// windowsName reports whether Windows takes a name for an ordinary file of that very name: no device, no
// alternate stream, nothing that it cuts off.
func windowsName(name string) bool {
	if strings.ContainsAny(name, `<>:"|?*`) || strings.TrimRight(name, ". ") != name {
		return false
	}
	for _, c := range []byte(name) {
		if c < ' ' {
			return false
		}
	}
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return false
	}
	for _, device := range []string{"COM", "LPT"} {
		port, is := strings.CutPrefix(stem, device)
		if is && utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³") {
			return false
		}
	}
	return true
}
