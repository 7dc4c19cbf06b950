"""The folder: what is written is read, what is damaged goes, and what others write counts for nothing."""

from relay.pki.crl import index_crl, issuer_ids, parse_crl
from relay.revocation.folder import CrlFolder, ListKey, key_of
from tests.kit.pki import Authority
from tests.kit.revocation import NOW, make_crl, point

CA = Authority("CA")
IDS = issuer_ids(CA.certificate)


def put(folder, revoked=(), *, issuer=CA, **options):
    crl = parse_crl(make_crl(issuer, revoked, **options))
    ids = issuer_ids(issuer.certificate)
    key = ListKey(ids, crl.scope.only, crl.scope.points, crl.is_delta)
    folder.write(key, index_crl(crl, issuer.certificate))
    return key


def test_a_list_is_found_by_its_ca(tmp_path):
    folder = CrlFolder(tmp_path)
    put(folder, [7])
    (held,) = folder.read()[IDS]
    assert held.complete.find(7) is not None
    assert held.delta is None
    assert (tmp_path / next(tmp_path.iterdir()).name).stat().st_mode & 0o777 == 0o600


def test_the_key_of_an_index_is_that_of_its_list(tmp_path):
    folder = CrlFolder(tmp_path)
    key = put(folder, extensions=[point("http://ca.example/1", user=True)])
    header = folder.header(key.file_name)
    assert header is not None
    assert key_of(header) == key


def test_a_newer_list_takes_the_place_of_the_older_and_the_older_stays_mapped(tmp_path):
    folder = CrlFolder(tmp_path)
    put(folder, [7], number=1)
    (before,) = folder.read()[IDS]
    put(folder, [8], number=2)
    (after,) = folder.read()[IDS]
    assert after.complete.find(8) is not None
    assert before.complete.find(7) is not None
    assert len(list(tmp_path.iterdir())) == 1


def test_what_has_not_changed_is_not_opened_again(tmp_path):
    folder = CrlFolder(tmp_path)
    put(folder)
    assert folder.read() == folder.read()


def test_a_delta_goes_with_its_list_only(tmp_path):
    folder = CrlFolder(tmp_path)
    put(folder, number=5)
    put(folder, [7], number=6, base=5)
    put(folder, issuer=Authority("Other"))
    held = folder.read()
    assert held[IDS][0].delta is not None
    assert [lists[0].delta for ids, lists in held.items() if ids != IDS] == [None]


def test_a_delta_to_a_list_that_is_not_there_yet_is_left_out(tmp_path):
    folder = CrlFolder(tmp_path)
    put(folder, number=5)
    put(folder, number=9, base=8)
    assert folder.read()[IDS][0].delta is None


def test_damaged_and_half_written_files_are_removed(tmp_path):
    folder = CrlFolder(tmp_path)
    good = put(folder)
    bad = put(folder, [1, 2, 3], issuer=Authority("Other"))
    whole = bytearray((tmp_path / bad.file_name).read_bytes())
    whole[-30] ^= 1
    (tmp_path / bad.file_name).write_bytes(whole)
    (tmp_path / ".half.index.new").write_bytes(b"x")
    (tmp_path / "empty.index").touch()
    assert folder.prepare() == sorted([".half.index.new", bad.file_name, "empty.index"])
    assert list(folder.read()) == [IDS]
    assert folder.header(good.file_name) is not None
    assert folder.header(bad.file_name) is None


def test_files_that_are_no_index_are_passed_over(tmp_path):
    folder = CrlFolder(tmp_path)
    (tmp_path / "rubbish.index").write_bytes(b"rubbish" * 100)
    (tmp_path / "empty.index").touch()
    assert folder.read() == {}
    assert CrlFolder(tmp_path / "missing").read() == {}


def test_a_list_that_is_gone_is_let_go(tmp_path):
    folder = CrlFolder(tmp_path)
    key = put(folder, at=NOW)
    assert folder.read()
    (tmp_path / key.file_name).unlink()
    assert folder.read() == {}
