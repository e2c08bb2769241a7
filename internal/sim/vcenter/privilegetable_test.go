package vcenter

import (
	"slices"
	"testing"
)

func TestPrivilegesOfTheTablesExist(t *testing.T) {
	t.Parallel()
	s, err := Start(Config{Dir: t.TempDir(), Name: "vc", Hosts: 1, Datastores: []Datastore{{Name: "ds"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	known := s.roles().ByName("Admin").Privilege
	for _, table := range []map[string]string{ownPrivilege, rootPrivilege, destroyPrivilege, renamePrivilege, movePrivilege} {
		for of, p := range table {
			if !slices.Contains(known, p) {
				t.Errorf("%s takes %q, which is no privilege", of, p)
			}
		}
	}
	for method := range ownPrivilege {
		if _, twice := rootPrivilege[method]; twice {
			t.Errorf("%s is in two tables", method)
		}
	}
}
