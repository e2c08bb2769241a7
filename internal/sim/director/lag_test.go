package director

import (
	"testing"
	"time"
)

func TestListsOfManyVMsLag(t *testing.T) {
	t.Parallel()
	of := func(vapps, vms int) []*record {
		var out []*record
		for range vapps {
			out = append(out, &record{vapp: &vapp{vms: make([]*vm, vms)}})
		}
		return out
	}
	for _, test := range []struct {
		name string
		recs []*record
		want time.Duration
	}{
		{"no records", nil, 0},
		{"records without VMs", of(2*manyVMs, 0), 0},
		{"as many VMs as are asked for", of(manyVMs/10, 10), 0},
		{"one more", append(of(manyVMs/10, 10), &record{vm: &vm{}}), time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lag(test.recs, time.Minute); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
