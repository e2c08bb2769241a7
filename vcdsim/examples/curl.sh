#!/usr/bin/env bash
# curl.sh goes through the vCloud API with nothing but curl: a vApp from a
# template, power, snapshot, metadata, download and upload, API tokens.
#
#	vcdsim serve --dir sim --listen 127.0.0.1:8443 --inventory vcdsim/examples/curl.yaml --config-out lab/vappvault.yaml
#	vcdsim/examples/curl.sh https://127.0.0.1:8443 lab/ca.pem
#
# It takes an organization acme with a user ada and a template photon, as that
# inventory has them. It prints how each task ended, stops at the first that did
# not succeed, with what vCD answered, and removes what it made.
set -euo pipefail
VCD=$1 CA=$(realpath "$2")
cd "$(mktemp -d)"
: >last
trap 'echo "curl.sh: line $LINENO: this failed. The last answer was:" >&2; head -c 4000 last >&2; echo >&2' ERR

# A tenant's session. Below API 38.0 POST /api/sessions makes one too; the
# provider's are made at /cloudapi/1.0.0/sessions/provider.
login() {
	curl -sS --cacert "$CA" -u "$1" -X POST -D - -o last -H 'Accept: application/json;version=38.1' "$VCD/cloudapi/1.0.0/sessions" |
		tr -d '\r' | sed -n 's/^x-vmware-vcloud-access-token: //Ip'
}
TOKEN=$(login ada@acme:vcdsim-ada)
[[ $TOKEN ]]

# vcd keeps each answer, for the trap.
vcd() { curl -sS --cacert "$CA" -H "Authorization: Bearer $TOKEN" -H 'Accept: application/*+xml;version=38.1' "$@" | tee last; }
attr() { grep -o " $1=\"[^\"]*\"" | sed -n '1s/.*="\(.*\)"/\1/p'; }
# task waits for the task in an answer.
task() {
	local href status=running
	href=$(grep -o '<Task [^>]*' | attr href)
	while [[ $status == queued || $status == preRunning || $status == running ]]; do
		sleep 0.2
		status=$(vcd "$href" | grep -o '<Task [^>]*' | attr status)
	done
	echo "$1: $status"
	[[ $status == success ]]
}

VCLOUD='xmlns="http://www.vmware.com/vcloud/v1.5"'
# post URL TYPE BODY
post() { vcd -X POST -H "Content-Type: application/vnd.vmware.vcloud.$2+xml" -d "$3" "$1"; }

VDC=$(vcd "$VCD/api/query?type=orgVdc" | grep -o '<OrgVdcRecord[^>]*' | attr href)
TEMPLATE=$(vcd "$VCD/api/query?type=vAppTemplate&filter=name==photon" | grep -o '<VAppTemplateRecord[^>]*' | attr href)

# A vApp from a template, and one that is composed of a template's VM.
ANSWER=$(post "$VDC/action/instantiateVAppTemplate" instantiateVAppTemplateParams "
	<InstantiateVAppTemplateParams $VCLOUD name='shop' deploy='false' powerOn='false'>
		<Source href='$TEMPLATE'/><AllEULAsAccepted>true</AllEULAsAccepted>
	</InstantiateVAppTemplateParams>")
VAPP=$(grep -o '<VApp [^>]*' <<<"$ANSWER" | attr href)
task instantiate <<<"$ANSWER"
VM=$(vcd "$TEMPLATE" | grep -o '<Vm [^>]*' | attr href)
ANSWER=$(post "$VDC/action/composeVApp" composeVAppParams "
	<ComposeVAppParams $VCLOUD name='composed' deploy='false' powerOn='false'>
		<SourcedItem><Source href='$VM'/><VmGeneralParams><Name>web</Name></VmGeneralParams></SourcedItem>
		<AllEULAsAccepted>true</AllEULAsAccepted>
	</ComposeVAppParams>")
COMPOSED=$(grep -o '<VApp [^>]*' <<<"$ANSWER" | attr href)
task compose <<<"$ANSWER"

# Power, snapshots, metadata.
vcd -X POST "$VAPP/power/action/powerOn" | task power-on
post "$VAPP/action/undeploy" undeployVAppParams \
	"<UndeployVAppParams $VCLOUD><UndeployPowerAction>powerOff</UndeployPowerAction></UndeployVAppParams>" | task undeploy
post "$VAPP/action/createSnapshot" createSnapshotParams "<CreateSnapshotParams $VCLOUD name='before'/>" | task snapshot
vcd -X POST "$VAPP/action/revertToCurrentSnapshot" | task revert
vcd -X POST "$VAPP/action/removeAllSnapshots" | task remove-snapshots
post "$VAPP/metadata" metadata "
	<Metadata $VCLOUD xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><MetadataEntry><Key>backup</Key>
		<TypedValue xsi:type='MetadataStringValue'><Value>daily</Value></TypedValue></MetadataEntry></Metadata>" | task metadata
vcd "$VCD/api/query?type=vApp&filter=metadata:backup==STRING:daily" | grep -o '<VAppRecord[^>]*' | attr name

# Download, here in two parts, as after a connection that broke.
vcd -X POST "$VAPP/action/enableDownload" | task enable-download
OVF=$(vcd "$VAPP" | grep -o '<Link rel="download:default"[^>]*' | attr href)
vcd -o shop.ovf "$OVF"
DISK=$(grep -o 'ovf:href="[^"]*"' shop.ovf | head -n 1 | cut -d '"' -f 2)
vcd -r 0-1023 -o shop.vmdk "${OVF%/*}/$DISK"
vcd -C - -o shop.vmdk "${OVF%/*}/$DISK"

# Upload what was downloaded, the disk in two parts.
CATALOG=$(vcd "$VCD/api/query?type=catalog" | grep -o '<CatalogRecord[^>]*' | attr href)
NEW=$(post "$CATALOG/action/upload" uploadVAppTemplateParams "<UploadVAppTemplateParams $VCLOUD name='uploaded'/>" | grep -o '<Entity [^>]*' | attr href)
target() { vcd "$NEW" | grep -o '<Link rel="upload:default"[^>]*' | grep "$1" | attr href || true; }
vcd -X PUT -H 'Content-Type: text/xml' --data-binary @shop.ovf "$(target ovf)"
until TO=$(target vmdk) && [[ -n $TO ]]; do sleep 0.2; done
SIZE=$(stat -c %s shop.vmdk) HALF=$(($(stat -c %s shop.vmdk) / 2))
head -c $HALF shop.vmdk | vcd -X PUT -H "Content-Range: bytes 0-$((HALF - 1))/$SIZE" --data-binary @- "$TO"
tail -c +$((HALF + 1)) shop.vmdk | vcd -X PUT -H "Content-Range: bytes $HALF-$((SIZE - 1))/$SIZE" --data-binary @- "$TO"
# Its task may be over, and gone from it, by now; the status stays.
STATUS=0
while [[ $STATUS == 0 ]]; do
	sleep 0.2
	STATUS=$(vcd "$NEW" | grep -o '<VAppTemplate [^>]*' | attr status)
done
[[ $STATUS == 8 ]]
echo "upload: success"

# An API token, and a session by it.
oauth() { curl -sS --cacert "$CA" -H 'Accept: application/json' "$@" | tee last; }
member() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\).*/\1/p"; }
CLIENT=$(oauth -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"client_name":"backup"}' "$VCD/oauth/tenant/acme/register" | member client_id)
REFRESH=$(oauth -H "Authorization: Bearer $TOKEN" -d grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer \
	--data-urlencode "client_id=$CLIENT" --data-urlencode "assertion=$TOKEN" "$VCD/oauth/tenant/acme/token" | member refresh_token)
TOKEN=$(oauth -d grant_type=refresh_token --data-urlencode "refresh_token=$REFRESH" "$VCD/oauth/tenant/acme/token" | member access_token)

# All that was made goes again, the token too.
oauth -H "Authorization: Bearer $TOKEN" -d "token=$REFRESH" "$VCD/oauth/tenant/acme/revoke"
vcd -X DELETE "$COMPOSED" | task delete-composed
vcd -X DELETE "$NEW" | task delete-uploaded
vcd -X DELETE "$VAPP" | task delete
curl -sS --cacert "$CA" -X DELETE -H "Authorization: Bearer $TOKEN" -H 'Accept: application/json;version=38.1' "$VCD/cloudapi/1.0.0/sessions/current"
echo done
