//! The phrase book: what the simulator says, by language, segment and sentence. It recognises nothing.

/// What is said in one language; `{n}` is the segment's number.
struct Page {
    code: &'static str,
    opening: &'static str,
    more: [&'static str; 3],
}

const ENGLISH: Page = Page {
    code: "en",
    opening: "This is the simulator speaking, segment {n}.",
    more: [
        "The weather is very nice today, let's go for a walk in the park together.",
        "Thank you all for coming to our meeting this morning.",
        "The next train to the city leaves in twenty minutes.",
    ],
};

const PAGES: [Page; 10] = [
    ENGLISH,
    Page {
        code: "zh",
        opening: "这里是模拟器，第{n}段。",
        more: [
            "今天天气很好，我们一起去公园散步。",
            "感谢大家今天上午来参加会议。",
            "下一班进城的火车二十分钟后发车。",
        ],
    },
    Page {
        code: "ja",
        opening: "こちらはシミュレーターです、区間{n}。",
        more: [
            "今日はとてもいい天気なので、一緒に公園を散歩しましょう。",
            "今朝は会議にお越しいただきありがとうございます。",
            "次の市内行きの電車は二十分後に出発します。",
        ],
    },
    Page {
        code: "fr",
        opening: "Ici le simulateur, segment {n}.",
        more: [
            "Il fait très beau aujourd'hui, allons nous promener ensemble au parc.",
            "Merci à tous d'être venus à notre réunion ce matin.",
            "Le prochain train pour la ville part dans vingt minutes.",
        ],
    },
    Page {
        code: "de",
        opening: "Hier spricht der Simulator, Abschnitt {n}.",
        more: [
            "Das Wetter ist heute sehr schön, lasst uns zusammen im Park spazieren gehen.",
            "Vielen Dank, dass Sie heute Morgen zu unserer Sitzung gekommen sind.",
            "Der nächste Zug in die Stadt fährt in zwanzig Minuten.",
        ],
    },
    Page {
        code: "es",
        opening: "Aquí habla el simulador, segmento {n}.",
        more: [
            "Hoy hace muy buen tiempo, vamos juntos a pasear por el parque.",
            "Gracias a todos por venir a nuestra reunión esta mañana.",
            "El próximo tren a la ciudad sale en veinte minutos.",
        ],
    },
    Page {
        code: "it",
        opening: "Qui parla il simulatore, segmento {n}.",
        more: [
            "Oggi il tempo è molto bello, andiamo insieme a passeggiare nel parco.",
            "Grazie a tutti per essere venuti alla riunione di stamattina.",
            "Il prossimo treno per la città parte tra venti minuti.",
        ],
    },
    Page {
        code: "pt",
        opening: "Aqui fala o simulador, segmento {n}.",
        more: [
            "Hoje o tempo está muito bom, vamos juntos passear no parque.",
            "Obrigado a todos por virem à nossa reunião esta manhã.",
            "O próximo trem para a cidade sai em vinte minutos.",
        ],
    },
    Page {
        code: "ru",
        opening: "Говорит симулятор, отрезок {n}.",
        more: [
            "Сегодня очень хорошая погода, давайте вместе погуляем в парке.",
            "Спасибо всем, что пришли на нашу встречу сегодня утром.",
            "Следующий поезд в город отправляется через двадцать минут.",
        ],
    },
    Page {
        code: "ko",
        opening: "시뮬레이터가 말합니다, 구간 {n}.",
        more: [
            "오늘은 날씨가 아주 좋으니 같이 공원에서 산책해요.",
            "오늘 아침 회의에 와 주셔서 감사합니다.",
            "시내로 가는 다음 기차는 이십 분 뒤에 출발합니다.",
        ],
    },
];

/// Languages that LiveTranslate 3.5 and 3.8 speak.
const SPOKEN: &str = "zh en ar de fr es pt id it ko ru th vi ja tr hi ms nl ur nb sv da he fi pl is cs fil fa";
/// Languages that they only write.
const WRITTEN: &str = "yue el af ast be bg bn bs ca ceb et gl gu hr hu jv kk kn ky lv mk ml mr pa ro sk sl sw tg az uk";
/// Languages that they hear but name no voice for in the provider's page.
const OLDER: &str = "en zh ru fr de pt es it id ko ja vi th ar yue hi el tr";

/// Whether LiveTranslate translates into this language: 18 of them in version 3, 60 later.
#[must_use]
pub fn translates_into(language: &str, older: bool) -> bool {
    let within = |list: &str| list.split(' ').any(|code| code == language);
    if older { within(OLDER) } else { within(SPOKEN) || within(WRITTEN) }
}

/// Whether LiveTranslate has a voice in this language.
#[must_use]
pub fn has_voice(language: &str) -> bool {
    SPOKEN.split(' ').any(|code| code == language)
}

/// Sentence `index` (from 0) of segment `number` (from 1); English where the book has no page.
#[must_use]
pub fn sentence(language: &str, number: usize, index: usize) -> String {
    let page = PAGES.iter().find(|page| page.code == language).unwrap_or(&ENGLISH);
    if index == 0 {
        return page.opening.replace("{n}", &number.to_string());
    }
    page.more.iter().cycle().nth((number + index) % page.more.len()).copied().unwrap_or_default().to_owned()
}

/// Whether words are written without spaces between them.
#[must_use]
pub fn unspaced(language: &str) -> bool {
    matches!(language, "zh" | "ja" | "yue")
}

/// The language a speaker is taken to speak when none is given: not the one to translate into.
#[must_use]
pub fn assumed_source(target: &str) -> &'static str {
    if target == "zh" { "en" } else { "zh" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_fixed_by_language_segment_and_index() {
        assert_eq!(sentence("en", 1, 0), "This is the simulator speaking, segment 1.");
        assert_eq!(sentence("zh", 12, 0), "这里是模拟器，第12段。");
        assert_eq!(sentence("xx", 2, 0), sentence("en", 2, 0));
        assert_ne!(sentence("de", 1, 1), sentence("de", 1, 2));
        assert_eq!(sentence("de", 1, 1), sentence("de", 1, 4));
    }

    #[test]
    fn languages_are_those_of_the_provider() {
        assert_eq!(SPOKEN.split(' ').count() + WRITTEN.split(' ').count(), 60);
        assert_eq!(OLDER.split(' ').count(), 18);
        assert!(translates_into("sw", false) && !translates_into("sw", true) && !has_voice("sw"));
        assert!(!translates_into("tlh", false) && has_voice("en"));
    }
}
