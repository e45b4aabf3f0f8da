"""Names in the genitive, held against a dictionary's own forms (Morfeusz 2, SGJP, 2026-06; most common Polish names)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okienko.plugins.procedure.inflection import Agreement, agreement, genitives, swapped
from okienko.schemas import Person

DICTIONARY = """
Jan jana, Anna anny, Piotr piotra, Krzysztof krzysztofa, Andrzej andrzeja, Tomasz tomasza, Paweł pawła
Michał michała, Marcin marcina, Stanisław stanisława, Jakub jakuba, Adam adama, Marek marka, Łukasz łukasza
Grzegorz grzegorza, Mateusz mateusza, Wojciech wojciecha, Mariusz mariusza, Dariusz dariusza, Zbigniew zbigniewa
Jerzy jerzego, Maciej macieja, Rafał rafała, Robert roberta, Józef józefa, Kamil kamila, Dawid dawida
Szymon szymona, Kacper kacpra, Bartosz bartosza, Artur artura, Sławomir sławomira, Sebastian sebastiana
Damian damiana, Patryk patryka, Daniel daniela, Przemysław przemysława, Karol karola, Kazimierz kazimierza
Wiesław wiesława, Marian mariana, Aleksander aleksandera, Franciszek franciszka, Filip filipa, Mikołaj mikołaja
Antoni antoniego, Ignacy ignacego, Konstanty konstantego, Bruno bruna, Hugo huga, Oskar oskara, Leon leona
Lew lewa, Jarema jaremy, Kuba kuby, Barnaba barnaby, Bonawentura bonawentury, Maria marii, Katarzyna katarzyny
Małgorzata małgorzaty, Agnieszka agnieszki, Barbara barbary, Ewa ewy, Magdalena magdaleny, Elżbieta elżbiety
Krystyna krystyny, Joanna joanny, Aleksandra aleksandry, Monika moniki, Zofia zofii, Teresa teresy, Natalia natalii
Julia julii, Danuta danuty, Karolina karoliny, Marta marty, Beata beaty, Dorota doroty, Halina haliny
Jadwiga jadwigi, Alicja alicji, Jolanta jolanty, Iwona iwony, Grażyna grażyny, Irena ireny, Paulina pauliny
Justyna justyny, Zuzanna zuzanny, Bożena bożeny, Wiktoria wiktorii, Urszula urszuli, Renata renaty, Hanna hanny
Agata agaty, Bogumiła bogumiły, Maja mai, Ola oli, Zosia zosi, Kasia kasi, Nadia nadii, Kinga kingi, Olga olgi
Helga helgi, Łucja łucji, Felicja felicji, Róża róży, Tobiasz tobiasza, Gabriel gabriela, Emanuel emanuela
Ksawery ksawerego, Walenty walentego, Wincenty wincentego, Idzi idziego, Zenon zenona, Gerwazy gerwazego, Edek edka
Janek janka, Eugeniusz eugeniusza, Alojzy alojzego, Ernest ernesta, Feliks feliksa, Maks maksa, Aleks aleksa
Zygmunt zygmunta, Świętopełk świętopełka, Mieszko mieszka, Lech lecha, Olech olecha, Nikodem nikodema, Nowak nowaka
Kowalski kowalskiego, Wiśniewski wiśniewskiego, Wójcik wójcika, Kowalczyk kowalczyka, Kamiński kamińskiego
Lewandowski lewandowskiego, Zieliński zielińskiego, Woźniak woźniaka, Szymański szymańskiego
Dąbrowski dąbrowskiego, Kozłowski kozłowskiego, Mazur mazura, Jankowski jankowskiego, Kwiatkowski kwiatkowskiego
Wojciechowski wojciechowskiego, Krawczyk krawczyka, Kaczmarek kaczmarka, Piotrowski piotrowskiego
Grabowski grabowskiego, Pawłowski pawłowskiego, Michalski michalskiego, Zając zająca, Król króla
Wieczorek wieczorka, Jabłoński jabłońskiego, Wróbel wróbla, Stępień stępienia, Kubiak kubiaka, Gołąb gołąba
Kupiec kupca, Kozioł kozioła, Dudek dudka, Pietrzyk pietrzyka, Zięba zięby, Kulka kulki, Kania kani, Sikora sikory
Baran barana, Duda dudy, Szewczyk szewczyka, Tomaszewska tomaszewskiej, Kowalska kowalskiej, Nowicka nowickiej
Biały białego, Biała białej, Konieczny koniecznego, Konieczna koniecznej, Moniuszko moniuszki, Matejko matejki
Fredro fredry, Kościuszko kościuszki, Ziobro ziobry, Lato laty, Mroczek mroczka, Marzec marca, Sowa sowy
Kruk kruka, Gaj gaja, Wilk wilka, Bąk bąka, Lis lisa, Czech czecha, Maj maja, Kołodziej kołodzieja, Kubica kubicy
Pająk pająka, Kędzior kędziora, Sokół sokoła, Jeleń jelenia, Kamień kamienia, Ptak ptaka, Gajda gajdy
Bednarz bednarza, Ślusarz ślusarza, Cieśla cieśli, Wnuk wnuka, Dziedzic dziedzica, Kmieć kmiecia, Staś stasia
Miodek miodka, Grzyb grzyba, Karp karpa, Żuraw żurawa, Kot kota, Kaleta kalety, Zaremba zaremby, Różycki różyckiego
Zawadzka zawadzkiej, Sienkiewicz sienkiewicza, Mickiewicz mickiewicza, Słowacki słowackiego, Norwid norwida
Linde lindego, Wałęsa wałęsy, Kaczor kaczora
"""
PAIRS = [tuple(item.split()) for item in DICTIONARY.replace("\n", ", ").strip(", ").split(", ")]


@pytest.mark.parametrize(("nominative", "genitive"), PAIRS)
def test_the_dictionary_genitive_is_among_the_forms(nominative: str, genitive: str) -> None:
    assert genitive.lower() in genitives(nominative.lower())


def person(given: str, family: str) -> Person:
    return Person(given_name=given, family_name=family)


@pytest.mark.parametrize(
    ("claimed", "account", "expected"),
    [
        (("Jan", "Kowalski"), ("Jan", "Kowalski"), Agreement.EXACT),
        (("JAN", "kowalski"), ("Jan", "Kowalski"), Agreement.EXACT),
        (("Jana", "Kowalskiego"), ("Jan", "Kowalski"), Agreement.INFLECTED),
        (("Anny Marii", "Zmyślonej-Próbnej"), ("Anna Maria", "Zmyślona-Próbna"), Agreement.INFLECTED),
        (("Marii", "Skłodowskiej – Curie"), ("Maria", "Skłodowska-Curie"), Agreement.INFLECTED),
        (("Ewy", "Smith"), ("Ewa", "Smith"), Agreement.INFLECTED),
        (("Anny", "Nowaka"), ("Anna", "Nowak"), Agreement.INFLECTED),
        (("Jan", "Kowalska"), ("Jan", "Kowalski"), Agreement.UNSURE),
        (("Jana", "Kowalczyka"), ("Jan", "Kowalski"), Agreement.UNSURE),
        (("Jan Piotr", "Kowalski"), ("Jan", "Kowalski"), Agreement.UNSURE),
        (("Łukasza", "Zająca"), ("Lukasz", "Zajac"), Agreement.UNSURE),
        (("Kowalskiego", "Jana"), ("Jan", "Kowalski"), Agreement.UNSURE),
        (("", "Kowalskiego"), ("Jan", "Kowalski"), Agreement.UNSURE),
    ],
)
def test_agreement(claimed: tuple[str, str], account: tuple[str, str], expected: Agreement) -> None:
    assert agreement(person(*claimed), person(*account)) is expected


def test_swapped_names_are_a_hint_for_a_human() -> None:
    assert swapped(person("Kowalskiego", "Jana"), person("Jan", "Kowalski"))
    assert not swapped(person("Kowalczyka", "Jana"), person("Jan", "Kowalski"))


@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_agrees_with_a_name_that_begins_otherwise(claimed: str, family: str) -> None:
    result = agreement(person(claimed, family), person("Quirinus", "Xavier"))
    assert result is Agreement.UNSURE or claimed.casefold().split()[0].startswith("quirinu")


@given(st.sampled_from(PAIRS), st.sampled_from(PAIRS))
def test_two_different_people_do_not_share_both_forms(one: tuple[str, str], other: tuple[str, str]) -> None:
    if one[0][:3].lower() != other[0][:3].lower():
        assert agreement(person(one[1], one[1]), person(other[0], other[0])) is Agreement.UNSURE
