package app

import (
	"testing"

	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/vcd"
)

func TestAVAppOfAHiddenOrgCanBeSelected(t *testing.T) {
	const org, id = "11111111-1111-1111-1111-111111111111", "urn:vcloud:vapp:33333333-3333-3333-3333-333333333333"
	for _, test := range []struct {
		name string
		ref  vcd.VAppRef
		want string
	}{
		{"a name is used", vcd.VAppRef{OrgID: "urn:vcloud:org:" + org, OrgName: "globex"}, "globex/vdc1/Büro Süd"},
		{"an org without goes by its UUID", vcd.VAppRef{OrgID: "urn:vcloud:org:" + org}, org + "/vdc1/Büro Süd"},
		{"an org without either is not known", vcd.VAppRef{}, "?/vdc1/Büro Süd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.ref.ID, test.ref.Name, test.ref.VDCName = id, "Büro Süd", "vdc1"
			v := located{VAppRef: test.ref}
			got := v.item().String()
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			picked, err := pick([]located{v}, []string{got})
			if err != nil || len(picked) != 1 {
				t.Errorf("it picks %v, %v", picked, err)
			}
			if _, err := selection.ParsePoint(got + "@latest"); err != nil {
				t.Error(err)
			}
		})
	}
}
