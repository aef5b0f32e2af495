package program

import (
	"reflect"
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatTheBuildSays(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	for _, test := range []struct {
		build    debug.BuildInfo
		version  string
		revision string
	}{
		{debug.BuildInfo{}, "unknown", "unknown"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3", "unknown"},
		{
			debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{setting("vcs.revision", "abc"), setting("vcs.modified", "false")}},
			"(devel)", "abc",
		},
		{
			debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "abc"), setting("vcs.modified", "true")}},
			"unknown", "abc, modified",
		},
	} {
		v := Version{Program: "prog", Version: "unknown"}
		v.read(&test.build)
		rows := v.Rows()
		if want := [][]string{{"prog", test.version}, {"revision", test.revision}}; !reflect.DeepEqual(rows[:2], want) {
			t.Errorf("%+v: got %q, expected %q", test.build, rows[:2], want)
		}
	}
}
