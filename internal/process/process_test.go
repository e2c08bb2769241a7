package process

import (
	"strings"
	"testing"
)

func TestDeadIsOnlyWhatIsCertain(t *testing.T) {
	self, err := This()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Process)) Process { p := self; change(&p); return p }
	for _, tc := range []struct {
		name string
		p    Process
		want bool
	}{
		{"this process lives", self, false},
		{"a pid that cannot be", with(func(p *Process) { p.PID = 1 << 30 }), true},
		{"the pid was given to another process since", with(func(p *Process) { p.Started = "1" }), true},
		{"another host's process is unknown", with(func(p *Process) { p.Host += "x"; p.PID = 1 << 30 }), false},
		{"another container's process is unknown", with(func(p *Process) { p.Boot += "x"; p.PID = 1 << 30 }), false},
		{"a process of an earlier boot is dead", with(func(p *Process) { p.Boot = "earlier/" + p.Boot }), true},
		{"no process is dead", with(func(p *Process) { p.PID = 0 }), true},
	} {
		if got := tc.p.Dead(self); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}

func TestALineIsReadBack(t *testing.T) {
	self, err := This()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Process{self, {Host: "h", PID: 7}} {
		if got := Parse(strings.Fields(p.Line())); got != p {
			t.Errorf("got %+v, want %+v", got, p)
		}
	}
}
